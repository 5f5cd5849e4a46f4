"""Importing cleaner changes nothing in the process; `configure_torch` does, when a program calls it."""

from __future__ import annotations

import ast
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = """
import importlib, json, os, pkgutil, signal, sys, warnings
import torch

def attend():
    rows = torch.randn(3, 1, 2, 20, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        return torch.nn.functional.scaled_dot_product_attention(*rows).float().flatten().tolist()

def freed_memory_is_kept():
    try:
        import resource
    except ImportError:
        return None
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)  # 64 MB
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults < 100

def snapshot():
    return {
        "freed memory is kept": freed_memory_is_kept(),
        "default dtype": str(torch.get_default_dtype()),
        "denormals": float(torch.tensor(1e-39) * 0.5) > 0,
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "attention": attend(),
        "thread turns": sys.getswitchinterval(),
        "warning filters": list(map(str, warnings.filters)),
        "signal handlers": {int(s): str(signal.getsignal(s)) for s in signal.valid_signals()},
        "environment": dict(os.environ),
    }
"""
IMPORT_ALL = """
import cleaner
names = [module.name for module in pkgutil.walk_packages(cleaner.__path__, "cleaner.")]
for name in names:
    importlib.import_module(name)
assert "cleaner.training.loop" in sys.modules and "cleaner.jobs.worker" in sys.modules
"""
CONFIGURE = "from cleaner import configure_torch\nconfigure_torch()\n"


def external_imports() -> list[str]:
    """Return the modules of other packages that cleaner's modules import at their top level."""
    names: set[str] = set()
    for path in sorted((ROOT / "cleaner").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module))
    return sorted(name for name in names if name.partition(".")[0] != "cleaner" and name != "__future__")


def changes(*codes: str) -> list[set[str]]:
    """Return which settings of the process each of `codes` changes, once all other packages are imported."""
    script = f"{SNAPSHOT}\nfor name in {external_imports()!r}: importlib.import_module(name)\n"
    for code in codes:
        script += (
            f"before = snapshot()\n{code}\nafter = snapshot()\n"
            "print(json.dumps([key for key in before if before[key] != after[key]]))\n"
        )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [set(json.loads(line)) for line in done.stdout.splitlines()[-len(codes) :]]


@pytest.mark.slow
def test_importing_every_module_changes_nothing_and_configure_torch_four_settings() -> None:
    imported, configured = changes(IMPORT_ALL, CONFIGURE)
    assert imported == set()
    glibc = {"freed memory is kept"} if platform.libc_ver()[0] == "glibc" else set()
    # Some CPUs cannot flush denormals.
    assert {"attention", "thread turns"} | glibc <= configured <= {"attention", "thread turns", "denormals"} | glibc


def test_processes_that_render_images_start_without_torch() -> None:
    """It would take most of the time of their start."""
    code = "import sys, cleaner.data.scenery.store; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


LOAD_AS_A_SERVER = """
import cleaner.files
from pages._shared.cache import background
before = cleaner.files.child_environment()
background.load_grammar()
import cleaner.explain, cleaner.inspection.embedding_map, umap
after = cleaner.files.child_environment()
assert after == before, after.items() - before.items()
"""


@pytest.mark.slow
def test_loaded_libraries_do_not_change_the_environment_of_workers() -> None:
    """A worker takes over a run only from a process with the same environment, whenever that was started."""
    subprocess.run([sys.executable, "-c", LOAD_AS_A_SERVER], cwd=ROOT, check=True, timeout=120)
