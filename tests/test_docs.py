"""The pages: commands parse, links lead to files, the Python example runs, numbers are measured."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import open_clip
import pytest
import tyro
from PIL import Image

from benchmarks import animation, tables
from cleaner.attacks import TRIGGERS
from cleaner.cli.commands import Command
from cleaner.cli.options import instantiate
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.detectors import DETECTORS
from cleaner.models.clip import Clip
from cleaner.models.tokenizer import load_tokenizer
from tests.conftest import TINY

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.md")),
]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
README, GUIDE = TEXTS[ROOT / "README.md"], ROOT / "docs" / "guide.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXTS[GUIDE], re.DOTALL)
OPEN_CLIP_EXAMPLE = ROOT / "examples" / "open_clip_model.py"
PROGRAM = r"(?:python -m cleaner|ta-cleaner) "
SUBCOMMANDS = {config.name for _, config in map(get_args, get_args(Command))}


def find_commands(text: str) -> list[str]:
    """Return the arguments of every command in code blocks and in inline code."""
    joined = text.replace("\\\n", " ")
    lines = re.findall(rf"^{PROGRAM}([^#\n]+)", joined, re.MULTILINE)
    inline = re.findall(rf"`{PROGRAM}([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [" ".join(command.split()) for command in lines + inline]


COMMANDS = sorted({command for text in TEXTS.values() for command in find_commands(text)})


def prose(text: str) -> str:
    """Return a page without code blocks and generated tables."""
    return tables.TABLE_BLOCK.sub("", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def to_anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("command_line", COMMANDS)
def test_command_lines_parse(command_line: str) -> None:
    arguments = shlex.split(command_line.replace("patch.png", "benchmarks/trigger.png"))  # which the page makes first
    command: Any = tyro.cli(Command, args=arguments)
    assert callable(command.run)
    if getattr(command, "trigger", ()):
        instantiate(TRIGGERS, command.trigger)
    if getattr(command, "defense", ()):
        instantiate(DEFENSES, command.defense)


def test_the_version_and_its_date_are_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest.groups() == (version, re.findall(r'^date-released: "(\S+)"$', citation, re.MULTILINE)[0])
    assert re.findall(r"^version: (\S+)$", citation, re.MULTILINE) == [version]


def test_every_subcommand_is_documented() -> None:
    documented = {command.split()[0] for command in COMMANDS}
    assert documented == SUBCOMMANDS


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for text in TEXTS.values() for name in re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)}
    assert {"run", "test"} <= targets
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_keeps_no_environment_that_could_not_be_completed(tmp_path: Path) -> None:
    """Debian's Python without the package python3-venv; the next call, with it, must start over."""
    python, environment = tmp_path / "python", tmp_path / "environment"
    python.write_text('#!/bin/sh\n[ "$2" != venv ] || { mkdir -p "$3/bin"; touch "$3/bin/python"; exit 1; }\n')
    python.chmod(0o755)
    made = subprocess.run(["make", f"PYTHON={python}", f"VENV={environment}", f"{environment}/bin/python"], cwd=ROOT)
    assert made.returncode != 0
    assert not environment.exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_and_images_exist(page: Path) -> None:
    without_code = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", without_code):
        if target.startswith("http"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(to_anchor, headings), f"{target}#{anchor}"


def test_readme_is_short_and_says_what_ta_cleaner_is() -> None:
    assert len(README.split()) <= 700
    assert len(re.findall(r"<!-- table:", README)) == 1
    first = prose(README).partition("[arXiv:2409.17601]")[0]
    assert "re-implementation from the public description" in " ".join(first.split())
    assert len(first.splitlines()) < 10


@pytest.mark.parametrize("name", [*TRIGGERS, *DEFENSES, *DETECTORS])
def test_every_attack_defense_and_detector_is_documented(name: str) -> None:
    assert f"`{name}`" in TEXTS[ROOT / "docs" / "reference.md"]


def test_python_examples_run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_clip: Clip,
    toy_data: TensorData,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import cleaner.data.base
    import cleaner.models.clip
    import cleaner.presets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cleaner.models.clip, "load_clip", lambda name: tiny_clip)
    monkeypatch.setattr(cleaner.data.base, "load_data", lambda name, **options: toy_data)
    sha256 = tiny_clip.sha256()
    exec(compile(EXAMPLES[0], "docs/guide.md", "exec"), {})
    assert tiny_clip.sha256() == sha256
    assert "ASR@1" in capsys.readouterr().out
    assert (tmp_path / "cleaned.safetensors").exists()


@pytest.mark.parametrize(("kind", "tokenizer"), [("vit", ""), ("rn", ""), ("vit", "roberta-base")])
def test_the_example_with_own_images_and_an_own_model_runs_alone(
    kind: str, tokenizer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from open_clip import factory

    import cleaner.models.clip

    monkeypatch.chdir(tmp_path)
    architecture = replace(TINY[kind], text={**TINY[kind].text, "hf_tokenizer_name": tokenizer})
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Small", architecture.to_config()["model_cfg"])
    asked, clips_own = set(), load_tokenizer()

    def load(name: str) -> Any:
        asked.add(name)
        return clips_own  # others are downloaded

    monkeypatch.setattr(cleaner.models.clip, "load_tokenizer", load)
    create = open_clip.create_model
    monkeypatch.setattr(open_clip, "create_model", lambda name, pretrained: create(name))
    (tmp_path / "photos").mkdir()
    for file in ("cat-1", "cat-2", "dog-1"):
        Image.new("RGB", (40, 30), "red").save(tmp_path / "photos" / f"{file}.png")
    monkeypatch.setattr("sys.argv", [OPEN_CLIP_EXAMPLE.name, "photos"])
    code = OPEN_CLIP_EXAMPLE.read_text(encoding="utf-8").replace('"ViT-B-32"', '"Small"')
    exec(compile(code, OPEN_CLIP_EXAMPLE.name, "exec"), {})
    assert capsys.readouterr().out.split()[-1] == "1"
    assert asked == {"Small" if tokenizer else ""}


def test_animation_is_small_and_moves() -> None:
    assert animation.ANIMATION_PATH.stat().st_size <= 600_000
    with Image.open(animation.ANIMATION_PATH) as image:
        assert getattr(image, "n_frames", 1) > 5
        assert image.size == (animation.WIDTH, animation.HEIGHT)
    assert f"({animation.ANIMATION_PATH.relative_to(ROOT).as_posix()})" in README
