"""The playground as a file: complete, safe with hostile names, the same each time, and small."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cleaner.__main__ import main
from cleaner.files import read_json, write_json
from cleaner.playground import export
from cleaner.playground.files import name_file, read_data
from cleaner.runs.folders import shipped_root
from cleaner.runs.store import read_record
from cleaner.types import CleanerError
from tests.pages.runs import make_runs

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ("example-badnet", "example-badnet-1-cleanclip", "example-badnet-2-cleanclip_short")
EXAMPLE += ("example-badnet-3-ta_cleaner",)
PUBLISHED = ROOT / "docs" / "playground" / "index.html"
EVIL = "</script><img src=x onerror=pwned=1>\u2028<!--"
MAX_BYTES = 4_000_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A backdoored run and a defense of it."""
    attack, defense = make_runs(tmp_path_factory.mktemp("playground"))
    write_json(defense / "config.json", {**read_json(defense / "config.json"), "parent": str(attack)})
    return [attack, defense]


@pytest.fixture(scope="module")
def example() -> str:
    records = [read_record(shipped_root() / name) for name in EXAMPLE]
    return export.render_playground(*export.make_data(records))


def read_block(text: str, name: str) -> Any:
    (content,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)
    return json.loads(content)


def unpack(value: Any) -> Any:
    """Return JSON with each packed text as its bytes: other versions of zlib pack the same bytes differently."""
    if isinstance(value, dict):
        return {key: unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unpack(item) for item in value]
    return zlib.decompress(base64.b64decode(value)) if isinstance(value, str) and len(value) > 200 else value


def test_the_published_page_is_up_to_date(example: str) -> None:
    """Remedy: the command in docs/guide.md. Other processors round the class vectors differently."""
    published = PUBLISHED.read_text(encoding="utf-8")
    if published == example:
        return
    blank = re.compile(r'(?<=<script type="application/json" id=")(page|weights)">.*?(?=</script>)', re.DOTALL)
    assert blank.sub("", published) == blank.sub("", example)
    (old, new) = (read_block(text, "page") for text in (published, example))
    assert {key: unpack(old[key]) for key in old if key != "quiz"} == {k: unpack(new[k]) for k in new if k != "quiz"}
    for before, after in zip(read_block(published, "weights"), read_block(example, "weights"), strict=True):
        one, other = (np.frombuffer(unpack(text), np.uint8) for text in (before, after))
        assert len(one) == len(other)
        assert (one != other).mean() < 0.02


def test_the_shipped_data_are_those_of_the_published_page() -> None:
    """Remedy: delete the file and run `python -m benchmarks.example`."""
    attack, *defenses = (read_record(shipped_root() / name) for name in EXAMPLE)
    page, weights = read_data(attack.folder / name_file(attack, defenses[::-1]))
    published = PUBLISHED.read_text(encoding="utf-8")
    other = read_block(published, "page")
    assert {**page, "models": 0, "quiz": 0} == {**other, "models": 0, "quiz": 0}
    order = [other["models"].index(model) for model in page["models"]]
    assert order == [0, 1, 4, 3, 2]
    assert json.loads(weights) == [read_block(published, "weights")[i] for i in order]


def test_the_page_is_small_and_asks_for_nothing(example: str) -> None:
    assert len(example.encode()) < MAX_BYTES
    assert len(re.findall(r"<script(?! type=.application/json.)", example)) == 1
    assert not re.findall(r"""\b(?:src|href|action)=["']""", example)
    assert set(re.findall(r"https?://[^\"'; )]+", example)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
    }
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', example)
    assert policy.startswith("default-src 'none'; ")
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", example, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} &#39;sha256-{digest}&#39;" in policy.replace("'", "&#39;")


def test_every_number_names_its_run_and_n(example: str) -> None:
    page, record = read_block(example, "page"), read_record(shipped_root() / EXAMPLE[0])
    assert [model["run"] for model in page["models"]] == [EXAMPLE[0], *EXAMPLE]
    assert page["models"][1]["asr"] == record.metric("asr")
    assert (page["n"], page["attacked"]) == (record.count("ca"), record.count("asr"))
    assert len(page["scenes"]["labels"]) == export.SCENES
    assert f"{page['n']:,} test images" in example


def test_the_roles_of_the_quiz_are_no_plain_text(example: str) -> None:
    quiz = read_block(example, "page")["quiz"]
    key, sealed = (bytes.fromhex(quiz[name]) for name in ("key", "sealed"))
    # CleanCLIP kept 14% of the attack: it is neither clean nor backdoored.
    assert [code ^ key[i] for i, code in enumerate(sealed)] == [0, 1, 2, 0, 0]
    assert export.seal_roles([1, 0, 2], ["a"]) != export.seal_roles([1, 0, 2], ["b"])


def test_hostile_names_stay_text(folders: list[Path]) -> None:
    page, weights = export.make_data([read_record(folder) for folder in folders])
    page["classes"][page["target"]] = EVIL
    page["models"] = [{**model, "label": EVIL, "run": EVIL} for model in page["models"]]
    page["trigger"]["label"] = page["data"] = EVIL
    text = export.render_playground(page, weights)
    assert EVIL not in text
    assert "<img" not in text
    assert read_block(text, "page")["classes"][page["target"]] == EVIL


def test_the_command_finds_the_attack_behind_a_defense(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "playground.html"
    assert main(["playground", str(folders[1]), "--out", str(out)]) == 0
    models = read_block(out.read_text(encoding="utf-8"), "page")["models"]
    assert [model["stage"] for model in models] == ["clean", "backdoored", "defended"]


def test_runs_of_another_attack_are_refused(folders: list[Path]) -> None:
    attack, defense = (read_record(folder) for folder in folders[:2])
    stranger = read_record(shipped_root() / EXAMPLE[3])
    for records in ([attack, stranger], [attack, attack, defense], []):
        with pytest.raises(CleanerError, match="one backdoored run"):
            export.find_attack(records)
    assert export.find_attack([defense, attack]) == (attack, [defense])


def test_another_architecture_is_refused(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cleaner.playground.weights.MAX_PARAMETERS", 1000)
    with pytest.raises(CleanerError, match="another image tower"):
        export.make_data([read_record(folders[0])])
