"""Weights and checkpoints: cut off, changed, of another architecture, not finite, with code, larger than they say."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from cleaner.models.clip import Architecture, build_clip, load_clip
from cleaner.models.lookup import describe_model_file, find_framing, validate_model_name
from cleaner.training.checkpoint import TrainingCheckpoint
from tests.inputs.cases import JSON_VALUES, ODD_NUMBERS, Case, Read, case
from tests.inputs.tables import make_special

TEXT = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 1, "layers": 1}
ARCHITECTURES = {
    "rn": Architecture(16, {"layers": (1, 1, 1, 1), "width": 4, "head_width": 16, "image_size": 32}, TEXT),
    "vit": Architecture(16, {"layers": 1, "width": 16, "head_width": 16, "patch_size": 16, "image_size": 32}, TEXT),
}
OWNED = "owned"
"""File that code in a checkpoint would write into the working folder."""
State = dict[str, Tensor]


@cache
def model(kind: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_clip(ARCHITECTURES[kind], kind).model


def state_of(case: Case) -> tuple[str, State]:
    kind = case.pick("rn", "vit")
    return kind, {key: value.contiguous().clone() for key, value in model(kind).state_dict().items()}


def metadata(kind: str) -> dict[str, str]:
    return {"architecture": json.dumps(asdict(ARCHITECTURES[kind])), "name": kind, "templates": '["a {}"]'}


def pack(form: str, kind: str, state: Any, texts: Any = None) -> bytes:
    """Return a model file: safetensors, or what torch.save writes, for whose architecture the metadata are needed."""
    texts = metadata(kind) if texts is None else texts
    if form == "safetensors":
        return save({key: value.contiguous() for key, value in state.items()}, texts)
    file = io.BytesIO()
    torch.save({"state_dict": state, "metadata": texts}, file)
    return file.getvalue()


def reader(case: Case, content: bytes, expected: Callable[[Any], None] | None = None) -> Read:
    """Return the opening of a model file: as a bare name, and its use on an image."""
    path = case.folder / f"model.{case.kind}"
    path.write_bytes(content)
    return path_reader(path, expected)


def path_reader(path: Path, expected: Callable[[Any], None] | None = None) -> Read:
    def read() -> None:
        validate_model_name(str(path))
        describe_model_file(str(path))
        find_framing(str(path))
        clip = load_clip(str(path))
        features = clip.encode_image(torch.linspace(0, 1, 3 * clip.image_size**2).view(1, 3, clip.image_size, -1))
        assert features.isfinite().all()
        assert not Path(OWNED).exists()
        if expected is not None:
            expected(clip)

    return read


def refuse(clip: Any) -> None:
    raise AssertionError("these weights must be refused")


@case("safetensors pt", "truncated")
def truncated(case: Case) -> Read:
    kind, state = state_of(case)
    content = pack(case.kind, kind, state)
    return reader(case, content[: case.pick(case.integer(0, len(content) - 1), case.integer(0, 200))])


@case("safetensors pt", "mutated")
def mutated(case: Case) -> Read:
    kind, state = state_of(case)
    return reader(case, case.mutate(pack(case.kind, kind, state)))


@case("safetensors pt", "other architecture")
def other_architecture(case: Case) -> Read:
    """Keys that are missing, left over or swapped, and tensors of another shape or type."""
    kind, state = state_of(case)
    for _ in range(case.integer(1, 3)):
        key = case.pick(*sorted(state))
        match case.integer(0, 4):
            case 0:
                del state[key]
            case 1:
                state[f"{key}.new"] = state[key].clone()
            case 2:
                state[key] = state[key].flatten()[: case.integer(0, 3)].clone()
            case 3:
                state[key] = state[key].to(
                    case.pick(torch.int8, torch.bool, torch.float16, torch.float64, torch.bfloat16)
                )
            case _:
                state[key] = state[case.pick(*sorted(state))].clone()
    other = case.pick(kind, kind, "rn", "vit")
    return reader(case, pack(case.kind, other, state))


def spoil(case: Case, values: tuple[float, ...], part: str) -> bytes:
    """Return a model in which one number of a tensor, whose name contains `part`, is one of `values`."""
    state: State = {}
    while not (keys := [key for key in state if part in key and state[key].is_floating_point()]):
        kind, state = state_of(case) if part != "running" else ("rn", dict(model("rn").state_dict()))
    tensor = state[key := case.pick(*keys)].clone()
    tensor.view(-1)[case.integer(0, tensor.numel() - 1)] = case.pick(*values)
    state[key] = tensor
    return pack(case.kind, kind, state)


@case("safetensors pt", "not finite")
def not_finite(case: Case) -> Read:
    return reader(case, spoil(case, (float("nan"), float("inf"), float("-inf")), ""), refuse)


@case("safetensors pt", "BatchNorm")
def batch_norm(case: Case) -> Read:
    """Statistics that no image has: not a number, infinite, a negative variance."""
    part = case.pick("running_var", "running_mean")
    values = (float("nan"), float("inf"), float("-inf"), *([-1.0, -1e-3] if part == "running_var" else []))
    return reader(case, spoil(case, values, part), refuse)


@case("safetensors pt", "odd metadata")
def odd_metadata(case: Case) -> Read:
    """Another architecture, templates or data version in the header than the project writes."""
    kind, state = state_of(case)
    texts: dict[str, str] = metadata(kind)
    values = asdict(ARCHITECTURES[kind])
    match case.integer(0, 3):
        case 0:
            part = case.pick(values, values["vision"], values["text"])
            part[case.pick(*sorted(part), "new")] = case.draw(JSON_VALUES | ODD_NUMBERS)
            texts["architecture"] = json.dumps(values)
        case 1:
            texts["templates"] = json.dumps(case.draw(JSON_VALUES | st.lists(st.text(max_size=9), max_size=3)))
        case 2:
            texts[case.pick("architecture", "templates", "base", "data", "name", "stage")] = case.draw(
                st.text(max_size=30)
            )
        case _:
            texts["architecture"] = case.mutate(texts["architecture"].encode()).decode(errors="replace")
    texts = {key: value.encode(errors="replace").decode() for key, value in texts.items()}
    return reader(case, pack(case.kind, kind, state, texts))


@case("safetensors", "false header")
def false_header(case: Case) -> Read:
    """Offsets, shapes, types and a length of the header that the file does not have."""
    kind, state = state_of(case)
    content = pack("safetensors", kind, state)
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    entry = header[case.pick(*[key for key in header if key != "__metadata__"])]
    match case.integer(0, 4):
        case 0:
            entry["data_offsets"] = [case.integer(-5, 2**40), case.integer(-5, 2**64)]
        case 1:
            entry["shape"] = case.draw(st.lists(st.integers(-2, 2**62), max_size=4))
        case 2:
            entry["dtype"] = case.pick("F64", "I8", "BOOL", "F8_E4M3", "F128", "", "U64", "BF16")
        case 3:
            header[case.draw(st.text(max_size=5))] = case.draw(JSON_VALUES)
        case _:
            header["__metadata__"] = case.draw(JSON_VALUES)
    text = json.dumps(header).encode()
    claimed = case.pick(len(text), len(text), len(text), case.integer(0, 2**64 - 1))
    return reader(case, struct.pack("<Q", claimed) + text + body)


class Code:
    """An object whose pickle runs a call when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def write_owned() -> None:
    Path(OWNED).write_text("code ran")


def code(case: Case) -> Any:
    import os
    import subprocess

    return case.pick(
        Code(write_owned),
        Code(os.system, f"touch {OWNED}"),
        Code(eval, f"open({OWNED!r}, 'w')"),
        Code(exec, f"open({OWNED!r}, 'w')"),
        Code(subprocess.Popen, ["touch", OWNED]),
        Code(getattr, "x", "upper"),
        Code(os.remove, "secret.png"),
        Code(torch.hub.load, "x/y", "z"),
        OrderedDict({Code(write_owned): 1}),
    )


@case("pt", "code")
def pickled_code(case: Case) -> Read:
    """A pickle that runs code: in the weights, next to them, around them, in both formats of torch.save."""
    kind, state = state_of(case)
    evil = code(case)
    match case.integer(0, 4):
        case 0:
            content: Any = evil
        case 1:
            content = {"state_dict": {**state, "logit_scale": evil}, "metadata": metadata(kind)}
        case 2:
            content = {"state_dict": state, "metadata": metadata(kind), "args": evil}
        case 3:
            return reader(case, pickle.dumps(evil, protocol=case.integer(0, 5)) + case.noise(20), refuse)
        case _:
            content = {"state_dict": state, "metadata": {"name": evil}}
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=case.pick(True, False))
    return reader(case, file.getvalue(), refuse)


@case("pt", "opcodes")
def opcodes(case: Case) -> Read:
    """The pickle inside a torch.save file, with edited opcodes."""
    kind, state = state_of(case)
    source, file = io.BytesIO(pack("pt", kind, state)), io.BytesIO()
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(file, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, case.mutate(content) if name.endswith("data.pkl") else content)
    return reader(case, file.getvalue())


@case("pt", "bomb")
def bomb(case: Case) -> Read:
    """Compressed zeros, views that repeat one number, tensors without memory."""
    if case.pick(True, False):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x/data.pkl", pickle.dumps({}, 2))
            archive.writestr(f"x/data/{case.integer(0, 9)}", bytes(case.pick(1_000_000, 50_000_000)))
            archive.writestr("x/version", b"3\n")
        return reader(case, file.getvalue())
    kind, state = state_of(case)
    shape = (case.pick(2**20, 2**34), case.integer(1, 2**20))
    state[case.pick(*sorted(state))] = torch.zeros(1).expand(shape)
    return reader(case, pack("pt", kind, state), refuse)


@case("pt", "odd content")
def odd_content(case: Case) -> Read:
    """Sparse, quantized, complex and empty tensors; lists and numbers in place of weights."""
    kind, state = state_of(case)
    odd = case.pick(
        lambda t: t.to_sparse(),
        lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
        lambda t: t.to(torch.complex64),
        lambda t: t.to("meta"),
        lambda t: t.tolist(),
        lambda t: None,
        lambda t: torch.empty(0),
        lambda t: torch.nested.nested_tensor([t.float().flatten()]),
    )
    key = case.pick(*[key for key in sorted(state) if state[key].is_floating_point()])
    try:
        content: Any = {**state, key: odd(state[key])}
        content = case.pick(content, content, list(content), {"state_dict": content}, {1: content}, key, 3)
        return reader(case, pack("pt", kind, content), refuse)
    except (RuntimeError, NotImplementedError, AttributeError):  # torch cannot make or save it
        return reader(case, b"")


@case("safetensors pt", "special file")
def special_file(case: Case) -> Read:
    path = case.folder / f"model.{case.kind}"
    make_special(case, path)
    return path_reader(path, refuse)


@case("safetensors pt", "sound")
def sound(case: Case) -> Read:
    """Nothing is wrong with these; the same weights must be read."""
    kind, state = state_of(case)
    for key, value in state.items():
        if value.is_floating_point() and "running" not in key:
            state[key] = value + case.integer(-3, 3) / 64

    def expected(clip: Any) -> None:
        assert all(torch.equal(value, state[key]) for key, value in clip.model.state_dict().items())

    return reader(case, pack(case.kind, kind, state), expected)


SETTINGS = {"config": {"lr": 0.1}, "defense": {}, "model_sha256": "0", "captions": "1", "attack": None}


@cache
def checkpoint() -> dict[str, Any]:
    student = model("rn")
    optimizer = torch.optim.AdamW(student.parameters())
    history = [{"stage": "poison", "step": 1, "total": 4, "seconds": 0.5}]
    parts = {"model": student.state_dict(), "optimizer": optimizer.state_dict(), "history": history, "cpu_seconds": 1.0}
    return {"settings": SETTINGS, **parts}


def checkpoint_reader(case: Case, content: bytes) -> Read:
    path = case.folder / "checkpoint.pt"
    path.write_bytes(content)
    return checkpoint_path_reader(path)


def checkpoint_path_reader(path: Path) -> Read:
    def read() -> None:
        clip = replace(build_clip(ARCHITECTURES["rn"], "rn"))
        before = clip.sha256()
        optimizer = torch.optim.AdamW(clip.model.parameters())
        history, seconds = TrainingCheckpoint(path, clip, optimizer, SETTINGS).resume()
        assert [report.step for report in history] == list(range(1, len(history) + 1))
        assert seconds >= 0
        assert not Path(OWNED).exists()
        assert all(value.isfinite().all() for value in clip.model.state_dict().values())
        assert history or clip.sha256() == before

    return read


def dump(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@case("checkpoint", "truncated")
def checkpoint_truncated(case: Case) -> Read:
    return checkpoint_reader(case, case.truncate(dump(checkpoint())))


@case("checkpoint", "mutated")
def checkpoint_mutated(case: Case) -> Read:
    return checkpoint_reader(case, case.mutate(dump(checkpoint())))


@case("checkpoint", "code")
def checkpoint_code(case: Case) -> Read:
    part = case.pick("settings", "model", "optimizer", "history", "new")
    return checkpoint_reader(case, dump({**checkpoint(), part: code(case)}))


@case("checkpoint", "odd content")
def checkpoint_odd(case: Case) -> Read:
    """Parts that are missing, of another type, from another model, or not finite."""
    content = dict(checkpoint())
    part = case.pick(*sorted(content))
    match case.integer(0, 3):
        case 0:
            del content[part]
        case 1:
            content[part] = case.draw(JSON_VALUES | ODD_NUMBERS)
        case 2:
            content["history"] = [{**content["history"][0], case.pick("step", "stage", "new"): case.draw(JSON_VALUES)}]
        case _:
            key = case.pick("visual.attnpool.positional_embedding", "ln_final.weight", "visual.bn1.running_var")
            odd = case.pick(torch.full_like(content["model"][key], float("nan")), torch.zeros(1), None)
            content["model"] = {**content["model"], key: odd}
    try:
        return checkpoint_reader(case, dump(content))
    except OverflowError:  # pickle has no such number
        return checkpoint_reader(case, b"")


@case("checkpoint", "special file")
def checkpoint_special(case: Case) -> Read:
    path = case.folder / "checkpoint.pt"
    make_special(case, path)
    return checkpoint_path_reader(path)
