"""Files of equal content have equal bytes, and the header that is sorted afterwards stays readable."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from cleaner.models.saving import write_checkpoint
from cleaner.models.tensor_files import write_tensors

TEXTS = {f"key {i}": f'{i} "\\ \x01 \n\t/ \x7f \u2028 é 🍌' for i in range(8)}
STATE = {"b.weight": torch.arange(6.0).view(2, 3), "a.rows": torch.tensor([3, 1], dtype=torch.int32)}


def test_equal_content_gives_equal_bytes_and_reads_back(tmp_path: Path) -> None:
    reverse_texts = dict(reversed(TEXTS.items()))
    contents = set()
    for i in range(4):
        path = tmp_path / f"{i}.safetensors"
        write_tensors(path, dict(reversed(STATE.items())) if i % 2 else STATE, reverse_texts if i % 2 else TEXTS)
        contents.add(path.read_bytes())
        with safe_open(path, "pt") as file:
            assert file.metadata() == TEXTS
            assert {key: file.get_tensor(key).tolist() for key in file.keys()} == {  # noqa: SIM118
                key: value.tolist() for key, value in STATE.items()
            }
    assert len(contents) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"] * 4


def test_checkpoints_do_not_contain_their_temporary_name(tmp_path: Path) -> None:
    for name in ("a.pt", "other.pt"):
        write_checkpoint(tmp_path / name, {"state_dict": STATE, "epoch": 0})
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()
    assert torch.load(tmp_path / "a.pt", weights_only=True)["epoch"] == 0
