"""Architecture: layers (import-linter), a lazy top level, a library that prints nothing, mirrored tests."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import cleaner

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "cleaner").rglob("*.py"))
APP = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]
# Pages may reach these only through cleaner/; tests/pages/test_imports.py checks the ones that load slowly.
NOT_IN_PAGES = {"torch", "torchvision", "open_clip", "captum", "umap", "nltk", "textblob", "plotly", "scipy", "sklearn"}
MAY_PRINT = {"cli", "__main__.py"}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


@cache
def parse_file(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, at any depth."""
    names = set()
    for node in ast.walk(parse_file(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_layers_and_siblings() -> None:
    pytest.importorskip("importlinter")
    process = python("import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))")
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("path", APP, ids=relative)
def test_pages_reach_models_and_charts_only_through_the_library(path: Path) -> None:
    names = imported(path)
    assert not {name.partition(".")[0] for name in names} & NOT_IN_PAGES


def test_import_cleaner_loads_nothing_heavy() -> None:
    process = python(
        "import sys, cleaner; dir(cleaner); "
        "print([name for name in ('torch', 'numpy', 'open_clip', 'nltk', 'streamlit') if name in sys.modules])"
    )
    assert process.stdout.strip() == "[]", process.stderr


def test_public_names_are_few_and_importable() -> None:
    assert len(cleaner.__all__) <= 25
    contract = {
        "load_clip",
        "save_clip",
        "load_data",
        "poison",
        "defend",
        "evaluate",
        "TRIGGERS",
        "DEFENSES",
        "DATASETS",
        "EXPLAINERS",
        "DETECTORS",
    }
    assert contract <= set(cleaner.__all__)
    for name in cleaner.__all__:
        assert getattr(cleaner, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cleaner.nothing  # noqa: B018


PURE_FUNCTIONS = {
    "cleaner.losses": {
        "info_nce": "a, b, logit_scale",
        "clip_loss": "f",
        "in_modal_loss": "f",
        "subtext_loss": "f",
        "par_loss": "f, reference, tau=2.15",
    },
    "cleaner.metrics": {
        "zero_shot_classifier": "prompt_features",
        "top_k_accuracy": "image_features, classifier, labels, k=1",
        "attack_success_rate": "triggered_features, classifier, labels, target_index, k=1, protocol='non_target'",
    },
    "cleaner.text": {
        "parse": "caption",
        "positive_subtexts": "caption, seed=0, style",
        "negative_subtexts": "caption, n=3, seed=0, vocabulary=None",
    },
}
"""Module -> function -> its first parameters, with the defaults that programs on top of the library rely on.

Some have no caller here.
"""


@pytest.mark.parametrize("module", PURE_FUNCTIONS)
def test_pure_functions_keep_their_names_parameters_and_defaults(module: str) -> None:
    for name, expected in PURE_FUNCTIONS[module].items():
        parameters = [parameter.partition("=") for parameter in expected.split(", ")]
        signature = inspect.signature(getattr(importlib.import_module(module), name))
        assert list(signature.parameters)[: len(parameters)] == [key for key, _, _ in parameters], name
        for key, _, default in parameters:
            assert not default or repr(signature.parameters[key].default) == default, (name, key)


@pytest.mark.parametrize("path", [p for p in LIBRARY if not MAY_PRINT & set(p.parts)], ids=relative)
def test_the_library_prints_nothing(path: Path) -> None:
    tree = parse_file(path)
    # A `main` may print: it is the entry point of a command.
    statements = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == "main")]
    calls = [node for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def test_no_branch_on_the_name_of_a_data_set_model_or_method() -> None:
    """Refuse `x == "scenes"` and `x in ("scenes", ...)`; `"scenes" in names` only asks whether it exists."""
    from cleaner.attacks import TRIGGERS
    from cleaner.data.base import DATASETS
    from cleaner.defenses import DEFENSES
    from cleaner.models.clip import BUILT_IN

    names = {*TRIGGERS, *DEFENSES, *BUILT_IN, *DATASETS}
    branches = []
    for path in [*LIBRARY, *APP]:
        for node in ast.walk(parse_file(path)):
            if not isinstance(node, ast.Compare):
                continue
            equal = any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
            sides = [node.left, *node.comparators] if equal else node.comparators
            texts = {n.value for side in sides for n in ast.walk(side) if isinstance(n, ast.Constant)}
            if texts & names:
                branches.append(f"{relative(path)}:{node.lineno}: {sorted(texts & names)}")
    assert not branches


@pytest.mark.parametrize("layer", ["attacks", "defenses", "detectors", "explain"])
def test_every_registered_entry_has_its_own_file_and_a_mirrored_test(layer: str) -> None:
    from cleaner.attacks import TRIGGERS
    from cleaner.defenses import DEFENSES
    from cleaner.detectors import DETECTORS
    from cleaner.explain import EXPLAINERS

    registry = {"attacks": TRIGGERS, "defenses": DEFENSES, "detectors": DETECTORS, "explain": EXPLAINERS}[layer]
    for name in registry:
        package, _, module = registry[name].__module__.rpartition(".")
        assert package == f"cleaner.{layer}"
        assert layer == "explain" or module == name.removesuffix("_stripes")  # a texture, in the file of its trigger
        assert (ROOT / "tests" / layer / f"test_{module}.py").is_file(), name


def test_every_module_has_a_docstring() -> None:
    trees = {path: parse_file(path) for path in [*LIBRARY, *APP]}
    undocumented = [relative(path) for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    assert not undocumented


def test_requirements_list_every_imported_package() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {line.split(">=")[0] for line in lines if line and not line.startswith("#")}
    package = {"open_clip": "open_clip_torch", "PIL": "pillow", "umap": "umap-learn", "sklearn": "scikit-learn"}
    roots = {name.partition(".")[0] for path in [*LIBRARY, *APP] for name in imported(path)}
    outside = roots - set(sys.stdlib_module_names) - {"cleaner", "pages", "app", "benchmarks"}
    assert "torch>=2.6" in lines  # older ones let weights_only be bypassed
    assert 'torch>=2.8; sys_platform == "darwin"' in lines  # older ones cannot resize with antialiasing on Apple GPUs
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    optional = set(re.findall(r'"([\w-]+)>=', extras.partition("\n[")[0]))
    assert optional
    assert {package.get(name, name) for name in outside} <= listed | optional
