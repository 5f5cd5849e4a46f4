"""The sdist and wheel: complete, and usable where only site-packages is at hand."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from cleaner import files
from cleaner.attacks import TRIGGERS
from cleaner.data.base import DATASETS
from cleaner.defenses import DEFENSES
from cleaner.models.clip import BUILT_IN
from cleaner.presets import DEFEND, SCENES_VARIANT, settings_for
from tests.ports import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
METADATA = ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE", "NOTICE")
SOURCES = (".streamlit", "app.py", "pages", "cleaner", "assets", "benchmarks/results")
UNUSED = shutil.ignore_patterns("__pycache__", "plots", "screenshots", "backdoor.gif", "film.gif")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged: a build writes into its source tree."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (*METADATA, *SOURCES):
        if (ROOT / name).is_dir():
            # cleaner/plots is code, assets/plots is not packaged.
            ignored = shutil.ignore_patterns("__pycache__") if name == "cleaner" else UNUSED
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built from the sdist."""
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    check_run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(checkout)], cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, which finds the dependencies in this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    python = bin_folder(folder) / "python"
    find_packages = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.check_output([python, "-c", find_packages], text=True).strip())
    dependencies = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dependencies), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    check_run([*pip, "--no-compile", str(wheel)], cwd=folder)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Environment variables without any that lead back to the checkout or to this machine's runs."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CLEANER_"))}
    places = {"CLEANER_RUNS": folder / "runs", "CLEANER_CACHE": folder / "cache"}
    return variables | {name: str(path) for name, path in places.items()}


def bin_folder(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin")


def check_run(command: list[Any], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_wheel_holds_every_file_once(checkout: Path, wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    expected = {f"cleaner/{name}" for name in files_below(checkout / "cleaner")}
    expected |= {f"cleaner/_app/pages/{name}" for name in files_below(checkout / "pages")}
    expected |= {f"cleaner/_assets/{name}" for name in files_below(checkout / "assets")}
    expected |= {"cleaner/_app/app.py", "cleaner/_app/.streamlit/config.toml"}
    missing = expected - set(names)
    assert not missing, f"add the folder to [tool.setuptools] packages, or the files to package-data: {missing}"
    assert sorted(names) == sorted(expected)
    assert wheel.stat().st_size < 80e6


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout")
def test_an_archive_of_the_repository_is_all_that_the_wheel_needs() -> None:
    """Hosts offer it as a .zip, which pip installs; .gitattributes keeps it small."""
    tracked = subprocess.check_output(["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=ROOT, text=True).splitlines()
    archive = subprocess.check_output(["git", "archive", "--worktree-attributes", "HEAD"], cwd=ROOT)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        names = {member.name for member in opened if member.isfile()}
    unused = ("assets/plots/", "assets/screenshots/", "assets/backdoor.gif", "assets/film.gif")
    sources = (*METADATA, "cleaner/", "pages/", "assets/", "app.py", ".streamlit/")
    assert {name for name in tracked if name.startswith(sources) and not name.startswith(unused)} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "docs/playground/", *unused))]


def test_a_build_holds_no_file_that_an_update_deleted(checkout: Path) -> None:
    built = checkout / "build" / "lib" / "cleaner" / "attacks"
    built.mkdir(parents=True, exist_ok=True)
    (built / "deleted.py").touch()  # the registry would import it
    check_run([sys.executable, "setup.py", "--quiet", "build_py"], cwd=checkout)
    names = {path.name for path in (checkout / "cleaner" / "attacks").glob("*.py")}
    assert {path.name for path in built.glob("*.py")} == names


@pytest.fixture(scope="module")
def outcome(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What commands, a page and a job of the installed package say, from one process outside the checkout."""
    script = Path(__file__).with_name("installed_page.py")
    folder = tmp_path_factory.mktemp("outside")
    command = [bin_folder(installed) / "python", "-P", script]
    outcome: dict[str, Any] = json.loads(check_run(command, cwd=folder, env=environment(folder)).splitlines()[-1])
    assert all(Path(path).is_relative_to(installed) for path in outcome["files"])
    return outcome


@pytest.mark.slow
def test_commands_work_outside_the_checkout(outcome: dict[str, Any]) -> None:
    for name in (*BUILT_IN, *DATASETS, *TRIGGERS, *DEFENSES):
        assert name in outcome["list"]
    assert json.loads(outcome["evaluate"])["ca"]["1"] > 0.8
    presets = json.loads(outcome["presets"])
    defenses = [row for row in presets if "defense" in row and row["name"].endswith(f"-{SCENES_VARIANT}")]
    rates = {row["defense"]: row["training"]["finetune"]["lr"] for row in defenses}
    assert rates == {name: settings_for("scenes-rn", DEFENSES[name]()).finetune.lr for name in DEFENSES}
    assert set(rates.values()) != {DEFEND.lr}


@pytest.mark.slow
def test_overview_shows_the_example_and_a_job_trains(outcome: dict[str, Any]) -> None:
    assert outcome["exceptions"] == []
    assert outcome["title"] == ["Overview"]
    assert outcome["in_view"] == "example-badnet"
    assert outcome["state"] == "done", outcome["log"]


def test_app_starts_on_this_machine_only(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "cleaner").mkdir()  # must not shadow the package
    (tmp_path / "cleaner" / "__init__.py").touch()
    command = [bin_folder(installed) / "ta-cleaner", "app", "--headless", "--port", str(port)]
    log = tmp_path / "log.txt"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stdout=output, stderr=output)
    try:
        wait_until(lambda: server.poll() is not None or is_healthy(port), timeout=120)
        assert server.poll() is None, log.read_text()
        addresses = {connection.laddr.ip for connection in listening(server.pid) if connection.laddr.port == port}
        assert addresses == {"127.0.0.1"}  # .streamlit/config.toml came along
    finally:
        server.terminate()
        server.wait(30)


def is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def listening(pid: int) -> list[Any]:
    return [c for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]


def test_commit_of_a_repository_around_the_package_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "source_root", lambda: ROOT / "tests")
    assert files.read_git_commit() == "unknown"
