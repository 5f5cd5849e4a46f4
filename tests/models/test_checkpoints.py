"""Model files: published checkpoints load, code is refused, and saved models load in open_clip."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import pickle
import sys
import types
import weakref
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.models import weights
from cleaner.models.architectures import TEMPLATES, Architecture, find_open_clip_name, get_open_clip_architecture
from cleaner.models.clip import Clip, build_clip, load_clip, save_clip
from cleaner.models.framing import ImageTransform
from cleaner.models.infer import infer_architecture
from cleaner.models.lookup import describe_model_file, find_framing, find_templates, validate_model_name
from cleaner.models.resolve import resolve_model_name
from cleaner.models.saving import write_checkpoint
from cleaner.models.tokenizer import load_tokenizer
from cleaner.training.loop import finetune
from cleaner.types import CleanerError
from tests.cases import read_cases
from tests.conftest import OPENAI, TINY, make_clip

CAPTIONS = ["a banana", "a red car on the grass"]


def openai(kind: str = "vit", seed: int = 0) -> Clip:
    """A small model of OpenAI's architecture, whose number of heads follows from its width."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_clip(OPENAI[kind], kind)


def same(a: Clip, b: Clip) -> bool:
    images = torch.rand(2, 3, a.image_size, a.image_size)
    is_equal = torch.equal(a.encode_image(images), b.encode_image(images))
    return is_equal and torch.equal(a.encode_text(CAPTIONS), b.encode_text(CAPTIONS))


def published(clip: Clip, form: str, prefix: str) -> dict[str, Any]:
    """The content of checkpoints of CleanCLIP and BadCLIP, of PAR, and of a bare state dict."""
    state = {prefix + key: value for key, value in clip.model.state_dict().items()}
    optimizer = torch.optim.AdamW(clip.model.parameters()).state_dict()
    optimizer["param_groups"][0]["lr"] = np.float64(1e-5)  # np.cos in their schedule makes it one
    arguments = argparse.Namespace(lr=1e-5, batch_size=64, name="par", ks=[1, 5])
    return {
        "bare": state,
        "cleanclip": {"epoch": 10, "name": "attack", "state_dict": state, "optimizer": optimizer},
        "par": {
            "epoch": 3,
            "state_dict": state,
            "optimizer": optimizer,
            "scaler": {"scale": 65536.0},
            "best_acc1": torch.tensor(0.5),
            "args": arguments,
        },
    }[form]


@pytest.mark.parametrize("kind", ["vit", "rn"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", ["bare", "cleanclip", "par"])
def test_published_checkpoints(form: str, prefix: str, kind: str, tmp_path: Path) -> None:
    clip = openai(kind)
    torch.save(published(clip, form, prefix), tmp_path / "epoch_10.pt")
    again = load_clip(str(tmp_path / "epoch_10.pt"))
    assert again.sha256() == clip.sha256()
    assert {**again.architecture.vision} == OPENAI[kind].vision
    assert again.architecture.quick_gelu
    assert again.architecture.text["vocab_size"] == 49410
    assert {value.dtype for value in again.model.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert same(again, clip)
    assert (again.architecture.mean, again.architecture.std) == (
        open_clip.OPENAI_DATASET_MEAN,
        open_clip.OPENAI_DATASET_STD,
    )
    assert again.templates == TEMPLATES
    assert again.metadata["origin_sha256"] == hashlib.sha256((tmp_path / "epoch_10.pt").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-L-14", "ViT-H-14", "ViT-g-14", "ViT-bigG-14", "ViT-e-14"])
def test_inferred_heads_are_those_of_open_clip_or_the_weights_are_refused(name: str) -> None:
    with torch.device("meta"):
        state = get_open_clip_architecture(name).build().state_dict()
    inferred = replace(infer_architecture(state, "x.pt"), quick_gelu=False)
    if name in ("ViT-B-32", "ViT-L-14", "ViT-H-14"):
        assert find_open_clip_name(inferred) == name
        return
    with torch.device("meta"):
        empty = inferred.build()
    with pytest.raises(CleanerError, match=r"do not fit .*mlp.* as in ViT-B-32:weights.pt.*open_clip_config.json"):
        weights.match_state_dict(empty, state, "x.pt")


def test_weights_of_a_larger_vocabulary_need_the_name_of_their_architecture() -> None:
    with torch.device("meta"):
        state = get_open_clip_architecture("ViT-L-14-worldwide").build().state_dict()
    with pytest.raises(CleanerError, match="250,100 tokens, more than CLIP's tokenizer"):
        infer_architecture(state, "x.pt")


def test_only_plain_archives_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, mapped, load = published(openai(), "cleanclip", ""), {}, torch.load
    torch.save(content, tmp_path / "new.pt")
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(tmp_path / "new.pt") as file, zipfile.ZipFile(tmp_path / "packed.pt", "w", 8) as packed:
        for info in file.infolist():
            packed.writestr(info.filename, file.read(info))

    def record(path: Path, **options: Any) -> Any:
        mapped[path.stem] = options["mmap"]
        return load(path, **options)

    monkeypatch.setattr(torch, "load", record)
    assert all(same(load_clip(tmp_path / f"{name}.pt"), openai()) for name in ("new", "old", "packed"))
    assert mapped == {"new": True, "old": False, "packed": False}


@pytest.mark.parametrize("key", ["", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "model."])
def test_checkpoints_of_compiled_models_and_other_loops(key: str, prefix: str, tmp_path: Path) -> None:
    clip = openai()
    state = published(clip, "bare", prefix)
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "epoch_3.pt")
    assert load_clip(str(tmp_path / "epoch_3.pt")).sha256() == clip.sha256()


def test_positions_that_older_text_towers_store_do_not_matter(tmp_path: Path) -> None:
    clip = openai()
    torch.save(
        {**published(clip, "bare", ""), "text.transformer.embeddings.position_ids": torch.arange(9)}, tmp_path / "a.pt"
    )
    assert same(load_clip(str(tmp_path / "a.pt")), clip)


def test_a_model_whose_file_name_is_not_utf8_can_be_saved(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/mod\xe8le.pt")
    torch.save(published(openai(), "bare", ""), path)
    saved = save_clip(load_clip(path), tmp_path / "saved.safetensors")
    assert load_clip(str(saved)).metadata["origin"] == "mod?le.pt"


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_a_numpy_scalar_is_no_obstacle_and_no_weight(module: str, tmp_path: Path) -> None:
    clip, path = openai(), tmp_path / "epoch_10.pt"

    def save(content: dict[str, Any]) -> None:
        """Write it under the name that the module of scalars has in NumPy 1 or 2."""
        torch.save(content, path, _use_new_zipfile_serialization=False)
        own = str(np.float64(1).__reduce__()[0].__module__)
        path.write_bytes(path.read_bytes().replace(own.encode(), module.encode()))

    save(published(clip, "cleanclip", ""))
    assert load_clip(str(path)).sha256() == clip.sha256()
    save({**published(clip, "bare", ""), "visual.proj": np.float64(1)})
    with pytest.raises(CleanerError, match=r"visual.proj is not a dense tensor"):
        load_clip(str(path))


def test_namespace_is_allowed_only_while_loading(tmp_path: Path) -> None:
    torch.save(published(openai(), "par", ""), tmp_path / "par.pt")
    load_clip(str(tmp_path / "par.pt"))
    with pytest.raises(pickle.UnpicklingError, match=r"Namespace|numpy.*scalar"):
        torch.load(tmp_path / "par.pt", weights_only=True)


class Evil:
    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Evil, "ran", True))


@pytest.mark.parametrize("old", [True, False])
def test_code_is_refused_and_named(old: bool, tmp_path: Path) -> None:
    content = {**published(openai(), "cleanclip", ""), "extra": Evil()}
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(CleanerError, match=r"refused: .*setattr"):
        load_clip(str(tmp_path / "evil.pt"))
    assert not Evil.ran


class Program(nn.Module):
    """A TorchScript program with the weights of a CLIP, like OpenAI's archives."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for key, value in state.items():
            at: nn.Module = self
            *path, name = key.split(".")
            for part in path:
                if part not in dict(at.named_children()):
                    at.add_module(part, nn.Module())
                at = dict(at.named_children())[part]
            at.register_buffer(name, value)
        self.register_buffer("input_resolution", torch.tensor(32))

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_torchscript_needs_a_published_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(weights.published_torchscript_hashes()) >= 9
    clip, path = openai(), tmp_path / "ViT.pt"
    torch.jit.save(torch.jit.script(Program(clip.model.state_dict())), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CleanerError, match=f"TorchScript program .SHA-256 {digest}.* Ask for its weights"):
        load_clip(str(path))
    monkeypatch.setattr(weights, "published_torchscript_hashes", lambda: frozenset({digest}))
    assert same(load_clip(str(path)), clip)


def test_description_of_a_file_does_not_parse_it(tmp_path: Path) -> None:
    content = b"\x80anything"
    (tmp_path / "x.pt").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    assert describe_model_file(str(tmp_path / "x.pt")) == f"{tmp_path / 'x.pt'}: 0.0 MB, SHA-256 {digest}"
    assert digest in str(describe_model_file(f"ViT-B-32:{tmp_path / 'x.pt'}"))
    assert describe_model_file("scenes-rn") is describe_model_file("ViT-B-32/openai") is None
    for content in (b"", b"\x89PNG\r\n\x1a\n", b"filepath,title"):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(CleanerError, match=r"is not a model file: choose a checkpoint saved with torch\.save"):
            describe_model_file(str(tmp_path / "x.pt"))


def test_keys_and_shapes_are_compared(tmp_path: Path) -> None:
    state = dict(openai().model.state_dict())
    state["visual.new"] = state.pop("ln_final.bias")
    state["visual.proj"] = state["visual.proj"][:, :-1]
    torch.save(state, tmp_path / "x.pt")
    expected = r"missing: ln_final.bias; unexpected: visual.new; visual.proj is \(128, 47\) instead of \(128, 48\)"
    with pytest.raises(CleanerError, match=expected):
        load_clip(str(tmp_path / "x.pt"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"a": 1}, "a is not a dense tensor"),
        ([1, 2], "contains a list, not a state_dict"),
        ({}, "it is empty"),
        ({"trunk.x": torch.ones(1)}, "first keys: trunk.x"),
        ({"state_dict": 3}, "contains a int as its state_dict"),
        (make_clip().model.state_dict(), "text width 32 is not a multiple of 64"),
    ],
)
def test_other_files_are_rejected(content: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CleanerError, match=sentence):
        load_clip(str(tmp_path / "x.pt"))


def test_a_model_of_transformers_is_named_as_one(tmp_path: Path) -> None:
    """Its folder looks like a run, and no architecture before the file would help."""
    (tmp_path / "config.json").write_text('{"architectures": ["CLIPModel"], "model_type": "clip"}')
    save_file({"logit_scale": torch.ones(()), "text_model.x": torch.ones(1)}, tmp_path / "model.safetensors")
    file = tmp_path / "model.safetensors"
    for name in (tmp_path, file, f"ViT-B-32:{file}"):
        with pytest.raises(CleanerError, match=r"is a model of transformers, .* such as ViT-B-32/openai\.$"):
            load_clip(str(name))


def test_a_small_vocabulary_cannot_read_captions(tmp_path: Path) -> None:
    small = build_clip(
        Architecture(48, OPENAI["vit"].vision, {**OPENAI["vit"].text, "vocab_size": 1000}, quick_gelu=True), "small"
    )
    save_file({k: v.contiguous() for k, v in small.model.state_dict().items()}, tmp_path / "x.safetensors")
    again = load_clip(str(tmp_path / "x.safetensors"))
    assert again.encode_image(torch.rand(1, 3, 32, 32)).shape == (1, 48)
    with pytest.raises(CleanerError, match="1,000 tokens"):
        again.encode_text(CAPTIONS)


@pytest.mark.parametrize("clip", [make_clip("vit"), make_clip("rn"), openai("rn")], ids=["vit", "rn", "openai"])
def test_own_architectures_load_in_open_clip_as_a_folder(clip: Clip, tmp_path: Path) -> None:
    clip.metadata = {"stage": "defended"}
    folder = save_clip(clip, tmp_path / "cleaned")
    theirs = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
    own = clip.model.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in theirs.state_dict().items())
    assert theirs.visual.preprocess_cfg["mean"] == list(clip.architecture.mean)
    assert theirs.visual.preprocess_cfg["std"] == list(clip.architecture.std)
    for name in (f"local-dir:{folder}", str(folder)):
        again = load_clip(name)
        assert again.metadata == {"stage": "defended"}
        assert same(again, clip)
    with pytest.raises(CleanerError, match="name a folder"):
        save_clip(clip, tmp_path / "x.pt")
    with pytest.raises(CleanerError, match=r"\.safetensors or \.pt"):
        save_clip(clip, tmp_path / "x.onnx")


def test_pt_loads_in_open_clip_bit_for_bit(small_model: str, tmp_path: Path) -> None:
    clip = build_clip(get_open_clip_architecture(small_model), small_model)
    assert find_open_clip_name(clip.architecture) == small_model
    path = save_clip(clip, tmp_path / "cleaned.pt")
    theirs = open_clip.create_model(small_model, pretrained=str(path)).eval()
    own = clip.model.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in theirs.state_dict().items())
    assert same(load_clip(str(path)), clip)
    assert not load_clip(str(path)).architecture.quick_gelu


def test_source_is_valid_from_another_folder(small_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = build_clip(get_open_clip_architecture(small_model), small_model)
    monkeypatch.chdir(tmp_path)
    save_clip(clip, "x.pt")
    for name in ("x.pt", f"{small_model}:x.pt"):
        monkeypatch.chdir(tmp_path)
        source = load_clip(name).source
        monkeypatch.chdir(tmp_path.parent)
        assert same(load_clip(str(source)), clip)


def test_the_home_folder_is_found_after_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    save_clip(make_clip(), tmp_path / "clip")
    name = "local-dir:~/clip"
    validate_model_name(name)
    assert load_clip(name).source == resolve_model_name(name) == f"local-dir:{(tmp_path / 'clip').resolve()}"


def test_a_folder_called_like_a_repository_does_not_change_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "repo").mkdir(parents=True)
    assert resolve_model_name("hf-hub:org/repo") == "hf-hub:org/repo"


@pytest.mark.parametrize("read", [load_clip, validate_model_name])
def test_an_architecture_that_open_clip_does_not_list_is_named(read: Callable[[str], Any], tmp_path: Path) -> None:
    (tmp_path / "epoch_10.pt").touch()
    with pytest.raises(CleanerError, match=r"no architecture 'ViT-B/32' \(did you mean 'ViT-B-32'\?\)"):
        read(f"ViT-B/32:{tmp_path / 'epoch_10.pt'}")
    with pytest.raises(CleanerError, match=r"there is no file ViT-B/32:absent.pt"):
        read("ViT-B/32:absent.pt")
    with pytest.raises(CleanerError, match="did you mean 'ViT-B-32/openai'"):
        read("ViT-B-32")


def test_a_named_architecture_decides_the_activation(small_model: str, tmp_path: Path) -> None:
    clip = build_clip(get_open_clip_architecture(small_model), small_model)
    torch.save(published(clip, "cleanclip", "module."), tmp_path / "epoch_2.pt")
    assert same(load_clip(f"{small_model}:{tmp_path / 'epoch_2.pt'}"), clip)
    assert not same(load_clip(str(tmp_path / "epoch_2.pt")), clip)


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_tags_and_hub_names(
    small_model: str, quick_gelu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open_clip's own loading, with the download replaced by a file; a tag's activation wins."""
    from open_clip import factory, pretrained

    config = OPENAI["vit"] if quick_gelu else get_open_clip_architecture(small_model)
    clip = build_clip(config, "x")
    torch.save(clip.model.state_dict(), tmp_path / "w.pt")
    card = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "quick_gelu": quick_gelu, "url": "x"}
    card |= {"resize_mode": "squash", "interpolation": "bilinear"}
    monkeypatch.setitem(pretrained._PRETRAINED, small_model, {"tag": card})
    monkeypatch.setattr(factory, "download_pretrained", lambda *_, **__: str(tmp_path / "w.pt"))
    again = load_clip(f"{small_model}/tag")
    clip.architecture = replace(clip.architecture, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert same(again, clip)
    assert again.framing == ImageTransform(32, "squash", "bilinear")
    resaved = load_clip(str(save_clip(again, tmp_path / "again.safetensors")))
    assert same(resaved, clip)
    assert (resaved.framing, resaved.templates, resaved.architecture.mean) == (again.framing, TEMPLATES, (0.5,) * 3)

    (tmp_path / "open_clip_config.json").write_text(json.dumps(again.architecture.to_config()))
    files = {"open_clip_config.json": tmp_path / "open_clip_config.json"}
    monkeypatch.setattr(
        factory, "download_pretrained_from_hf", lambda _, filename="", **__: str(files.get(filename, tmp_path / "w.pt"))
    )
    shared = load_clip("hf-hub:someone/model")
    assert same(shared, clip)
    assert shared.framing == again.framing


def test_missing_network_and_unknown_names_are_reported(small_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from open_clip import factory, pretrained

    def fail(*_: Any, **__: Any) -> str:
        raise OSError("no route to host")

    monkeypatch.setitem(pretrained._PRETRAINED, small_model, {"tag": {"url": "x"}})
    monkeypatch.setattr(factory, "download_pretrained", fail)
    monkeypatch.setattr(factory, "download_pretrained_from_hf", fail)
    for name in (f"{small_model}/tag", "hf-hub:someone/model"):
        with pytest.raises(CleanerError, match=r"no route to host.*local-dir:FOLDER"):
            load_clip(name)
    with pytest.raises(CleanerError, match="did you mean 'ViT-B-32/openai'"):
        load_clip("ViT-B-32/openay")
    with pytest.raises(CleanerError, match="is not an open_clip model folder"):
        load_clip("local-dir:/nowhere")


@pytest.fixture
def siglip(tmp_path: Path) -> Clip:
    extra = {"custom_text": True, "init_logit_bias": -10.0}
    config = Architecture(48, OPENAI["vit"].vision, OPENAI["vit"].text, extra=extra, resize_mode="squash")
    return load_clip(f"local-dir:{save_clip(build_clip(config, 'sig'), tmp_path / 'sig')}")


def test_a_file_is_read_with_the_configuration_in_its_folder(tmp_path: Path) -> None:
    config = replace(OPENAI["vit"], quick_gelu=False, mean=(0.5,) * 3, resize_mode="squash")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config.to_config()))
    torch.save(build_clip(config, "x").model.state_dict(), tmp_path / "epoch_2.pt")
    again = load_clip(str(tmp_path / "epoch_2.pt"))
    assert (again.architecture, again.name, again.has_assumed_activation) == (config, "epoch_2", False)
    own = save_clip(openai(), tmp_path / "own.safetensors")  # its header says what it is
    assert load_clip(str(own)).architecture == OPENAI["vit"]


def test_framing_is_known_without_weights(small_model: str, tmp_path: Path) -> None:
    clip = make_clip()
    save_clip(clip, tmp_path / "own.safetensors")
    save_clip(clip, tmp_path / "folder")
    (tmp_path / "folder" / "open_clip_model.safetensors").unlink()
    torch.save(clip.model.state_dict(), tmp_path / "bare.pt")
    known = {str(tmp_path / "own.safetensors"): 32, f"local-dir:{tmp_path / 'folder'}": 32, "scenes-rn": 64}
    known |= {f"{small_model}:nowhere.pt": 32, "ViT-B-32/laion2b_s34b_b79k": 224}
    for name, side in known.items():
        found = find_framing(name)
        assert found is not None, name
        assert found.size == side
    assert find_framing("ViT-B-16-SigLIP/webli").mode == "squash"
    modes = [find_framing(f"ViT-H-14/{tag}").mode for tag in ("laion2b_s32b_b79k", "dfn5b")]
    assert modes == ["shortest", "squash"]  # two tags of one architecture
    for name in (str(tmp_path / "bare.pt"), "hf-hub:org/repo", "nowhere.safetensors", "words"):
        assert find_framing(name) is None


def test_templates_are_known_without_weights(small_model: str, tmp_path: Path) -> None:
    own, stated, folder = tmp_path / "own.safetensors", tmp_path / "stated.safetensors", tmp_path / "folder"
    save_clip(make_clip(), own)
    for path in (stated, folder):
        save_clip(replace(make_clip(), templates=("one {}.",)), path)
    bare = build_clip(get_open_clip_architecture(small_model), small_model).model.state_dict()
    torch.save(bare, tmp_path / "bare.pt")
    save_file({key: value.contiguous() for key, value in bare.items()}, tmp_path / "bare.safetensors")
    names = [str(own), str(stated), str(folder), f"local-dir:{folder}", f"{small_model}:{tmp_path / 'bare.pt'}"]
    names += [f"{small_model}:{tmp_path / 'bare.safetensors'}", "scenes-lite", "photos-rn"]
    assert [find_templates(name) for name in names] == [load_clip(name).templates for name in names]
    for name in ("ViT-B-32/laion2b_s34b_b79k", "hf-hub:org/repo", "nowhere.safetensors", str(tmp_path)):
        assert find_templates(name) == TEMPLATES


def test_siglip_is_trained_with_its_own_loss(siglip: Clip, toy_data: TensorData) -> None:
    config = FinetuneConfig(lr=1e-3, steps=20, batch_size=16, warmup_steps=0, device="cpu")
    trained = finetune(siglip, toy_data, DEFENSES["ta_cleaner"](share=1.0), config)
    losses = [report.losses["total"] for report in trained.history]
    assert losses[-1] < losses[0]
    before, after = siglip.logit_bias, trained.clip.logit_bias
    assert before is not None
    assert after is not None
    assert after.item() != before.item() == -10.0
    for scale in (4.77, -0.5):  # OpenAI's limits are not SigLIP's
        with torch.no_grad():
            siglip.model.logit_scale.fill_(scale)
        trained = finetune(siglip, toy_data, DEFENSES["finetune"](), replace(config, steps=1))
        assert trained.clip.model.logit_scale.item() == pytest.approx(scale, abs=0.01)
    with pytest.raises(CleanerError, match="formula=ours"):
        finetune(siglip, toy_data, DEFENSES["ta_cleaner"](formula="reviewed", negatives=1), config)
    assert siglip.has_sigmoid_loss
    assert not openai().has_sigmoid_loss
    assert siglip.encode_text(CAPTIONS).shape == siglip.encode_image(torch.rand(2, 3, 32, 32)).shape == (2, 48)


def test_coca_is_trained_in_its_contrastive_part(toy_data: TensorData, monkeypatch: pytest.MonkeyPatch) -> None:
    text = OPENAI["vit"].text | {"context_length": 76, "embed_cls": True, "output_tokens": True}
    decoder = {"width": text["width"], "context_length": 76, "vocab_size": 49408, "layers": 1, "heads": 2}
    pooler = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    extra = {"custom_text": True, "multimodal_cfg": decoder | {"dim_head": 16, "n_queries": 8, "attn_pooler_heads": 2}}
    allocate = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **options: allocate(*size, **options).fill_(torch.nan))
    coca = build_clip(Architecture(48, OPENAI["vit"].vision | pooler, text, extra=extra), "coca")
    config = FinetuneConfig(steps=2, batch_size=16, device="cpu")
    trained = finetune(coca, toy_data, DEFENSES["ta_cleaner"](share=1.0), config)
    before, after = coca.model.state_dict(), trained.clip.model.state_dict()
    changed = {key.split(".")[0] for key in after if not torch.equal(before[key], after[key])}
    assert {"visual", "text"} <= changed
    assert "text_decoder" not in changed  # it writes captions, which no loss here asks for


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RN50-quickgelu", "ViT-B-32-quickgelu", "ViT-B-32", "ViT-B-16-SigLIP"])
def test_full_size_models(name: str, tmp_path: Path) -> None:
    architecture = get_open_clip_architecture(name)
    clip = build_clip(architecture, name)
    assert find_open_clip_name(architecture) == name
    path = save_clip(clip, tmp_path / "x.pt")
    theirs = open_clip.create_model(name, pretrained=str(path))
    own = clip.model.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in theirs.state_dict().items())
    assert load_clip(str(path)).sha256() == clip.sha256()
    torch.save({"epoch": 1, "name": "x", "state_dict": own, "optimizer": {}}, path)
    assert load_clip(f"{name}:{path}").architecture == architecture
    if architecture.quick_gelu:
        assert find_open_clip_name(load_clip(str(path)).architecture) == name


def test_a_failed_checkpoint_leaves_no_open_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted file that is still open fills the disk, and the run cannot report its failure."""

    class Writer:
        pass

    held: list[weakref.ref[Writer]] = []

    def fail(state: object, path: Path) -> None:
        writer = Writer()
        held.append(weakref.ref(writer))
        raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CleanerError, match="the disk is full") as caught:
        write_checkpoint(tmp_path / "checkpoint.pt", {})
    assert "CLEANER_RUNS" in str(caught.value)
    assert held[0]() is None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Calls of transformers' AutoTokenizer, which is replaced: the package need not be installed."""
    calls: list[tuple[str, dict[str, Any]]] = []

    class Tokenizer:
        def __init__(self, vocabulary: str) -> None:
            self.vocabulary = vocabulary

        def save_pretrained(self, folder: Path) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "tokenizer.json").write_text(self.vocabulary)

    class AutoTokenizer:
        @staticmethod
        def from_pretrained(name: object, **options: Any) -> Tokenizer:
            calls.append((str(name), options))
            stored = Path(str(name), "tokenizer.json")
            return Tokenizer(stored.read_text() if stored.exists() else f"downloaded {name}")

    module = types.ModuleType("transformers")
    module.AutoTokenizer = AutoTokenizer
    monkeypatch.setitem(sys.modules, "transformers", module)
    load_tokenizer.cache_clear()
    return calls


def folder_with(clip: Clip, folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """An open_clip local-dir with a changed configuration."""
    save_clip(clip, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    change(config["model_cfg"])
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return f"local-dir:{folder}"


@pytest.mark.parametrize(
    "text",
    [
        {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}},
        {"tokenizer_kwargs": {"trust_remote_code": True}},
        {"tokenizer_kwargs": {"clean": "lower", "proxies": {"https": "http://x"}}},
        {"tokenizer_kwargs": ["trust_remote_code"]},
        {"hf_tokenizer_name": "hf-hub:someone/tokenizer"},
        {"hf_tokenizer_name": "/somewhere"},
        {"hf_model_name": "someone/model"},
        {"hf_model_name": "../somewhere"},
        {"hf_model_name": {"a": 1}},
    ],
)
def test_a_folder_cannot_run_code_or_name_other_repositories(
    text: dict[str, Any], tmp_path: Path, asked: list[Any]
) -> None:
    name = folder_with(make_clip(), tmp_path / "folder", lambda config: config["text_cfg"].update(text))
    with pytest.raises(
        CleanerError, match=r"open_clip_config\.json cannot be read as a model: .* is refused because of"
    ):
        load_clip(name)
    assert find_framing(name) is None
    assert not asked


@pytest.mark.parametrize("model", ["hf-hub:someone/model", "local-dir:somewhere", "./x"])
def test_a_vision_tower_elsewhere_is_refused(model: str, tmp_path: Path) -> None:
    tower = {"timm_model_name": model}
    name = folder_with(make_clip(), tmp_path / "folder", lambda config: config["vision_cfg"].update(tower))
    with pytest.raises(CleanerError, match=r"timm_model_name .* is not a plain name"):
        load_clip(name)


def test_a_folders_tokenizer_runs_no_code_and_stays_offline(tmp_path: Path, asked: list[Any]) -> None:
    text = {"hf_tokenizer_name": "someone/tokenizer", "tokenizer_kwargs": {"clean": "lower", "strip_sep_token": True}}
    clip = load_clip(folder_with(make_clip(), tmp_path / "folder", lambda config: config["text_cfg"].update(text)))
    load_tokenizer(clip.architecture.tokenizer)
    ((name, options),) = asked
    assert name == str(tmp_path / "folder")
    assert (options["trust_remote_code"], options["local_files_only"]) == (False, True)
    (tmp_path / "folder" / "open_clip_config.json").unlink()
    load_tokenizer.cache_clear()
    with pytest.raises(CleanerError, match="are not run"):
        clip.encode_text(CAPTIONS)
    load_tokenizer("roberta-ViT-B-32")
    assert asked[1][0] == "roberta-base"
    assert asked[1][1]["trust_remote_code"] is False


def test_a_hub_model_cannot_run_code(small_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from open_clip import factory

    clip = make_clip()
    torch.save(clip.model.state_dict(), tmp_path / "w.pt")
    text = {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    folder_with(clip, tmp_path / "hub", lambda config: config["text_cfg"].update(text))
    files = {"open_clip_config.json": tmp_path / "hub" / "open_clip_config.json"}
    monkeypatch.setattr(
        factory, "download_pretrained_from_hf", lambda _, filename="", **__: str(files.get(filename, tmp_path / "w.pt"))
    )
    with pytest.raises(CleanerError, match="trust_remote_code=True, which could run code"):
        load_clip("hf-hub:someone/model")


def with_header(tmp_path: Path, architecture: object, **texts: str) -> Path:
    """A file with the weights of a small model and any header."""
    described = architecture if isinstance(architecture, str) else json.dumps(architecture)
    save_file(tiny_weights(), tmp_path / "x.safetensors", metadata={"architecture": described, **texts})
    return tmp_path / "x.safetensors"


@cache
def tiny_weights() -> dict[str, Tensor]:
    return {key: value.contiguous() for key, value in make_clip().model.state_dict().items()}


HEADER = asdict(TINY["vit"])


@pytest.mark.parametrize(
    "tokenizer", ["local-dir:/somewhere", "hf-hub:someone/model", "someone/model", "./x", 0, ["x"]]
)
def test_a_file_cannot_name_a_tokenizer_elsewhere(tokenizer: Any, tmp_path: Path, asked: list[Any]) -> None:
    path = with_header(tmp_path, {**HEADER, "tokenizer": tokenizer})
    with pytest.raises(CleanerError, match=r"x\.safetensors cannot be read as a model: it names the tokenizer"):
        load_clip(str(path)).encode_text(CAPTIONS)
    assert not asked


def with_tokenizer(name: str, tokenizer: str) -> Architecture:
    return replace(TINY["vit"], text={**TINY["vit"].text, "hf_tokenizer_name": name}, tokenizer=tokenizer)


def test_only_what_can_be_opened_again_is_trained() -> None:
    for architecture in (*TINY.values(), with_tokenizer("roberta-base", "hf-hub:someone/roberta")):
        architecture.validate_storable()
    tower = replace(TINY["vit"], text={**TINY["vit"].text, "hf_model_name": "someone/tower"})
    for refused, name in ((with_tokenizer("someone/bpe", "local-dir:/x"), "someone/bpe"), (tower, "someone/tower")):
        with pytest.raises(CleanerError, match=f"could not be opened again.*'{name}'.*choose a model"):
            refused.validate_storable()
        with pytest.raises(CleanerError):
            Architecture.from_json(json.dumps(asdict(refused.with_portable_tokenizer())))


def test_a_folder_has_the_files_of_its_tokenizer(tmp_path: Path, asked: list[Any]) -> None:
    clip = build_clip(with_tokenizer("roberta-base", "roberta-ViT-B-32"), "x")
    name = f"local-dir:{save_clip(clip, tmp_path / 'folder')}"
    for tokenizer in (load_tokenizer(load_clip(name).architecture.tokenizer), open_clip.get_tokenizer(name)):
        assert tokenizer.tokenizer.vocabulary == "downloaded roberta-base"
    unknown = replace(clip, architecture=with_tokenizer("x", "local-dir:/nowhere"))
    with pytest.raises(CleanerError, match="tokenizer in local-dir:/nowhere cannot be read"):
        save_clip(unknown, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP2", "roberta-ViT-B-32"])
def test_a_configuration_with_another_tokenizer_requires_it(name: str) -> None:
    config = open_clip.get_model_config(name)
    with pytest.raises(CleanerError, match="not CLIP's: pass tokenizer="):
        Architecture.from_config(config, {})
    assert Architecture.from_config(config, {}, name).tokenizer == name


def test_a_saved_model_has_open_clips_tokenizer_name(tmp_path: Path) -> None:
    clip = build_clip(with_tokenizer("roberta-base", "hf-hub:someone/roberta"), "x")
    again = load_clip(str(save_clip(clip, tmp_path / "x.safetensors")))
    listed = open_clip.get_model_config(again.architecture.tokenizer)
    assert listed["text_cfg"]["hf_tokenizer_name"] == "roberta-base"


@pytest.mark.parametrize(
    "header",
    [
        "{broken",
        "5",
        "[]",
        "{}",
        "[" * 100_000,
        *(json.dumps({**HEADER, **json.loads(change)}) for (change,) in read_cases(__file__, "invalid_headers")),
    ],
    ids=lambda header: header[-60:],
)
def test_invalid_headers_are_rejected(header: str, tmp_path: Path) -> None:
    path = with_header(tmp_path, header)
    with pytest.raises(CleanerError, match=r"x\.safetensors (cannot be read as a model|do not fit)"):
        load_clip(str(path))


@pytest.mark.parametrize(
    "templates",
    [
        "{broken",
        "5",
        "[5]",
        '"a {}"',
        '["a {"]',
        '["{:>9999999999}"]',
        '["a"]',
        '["{} {}"]',
        '["{0}"]',
        '["{{}}"]',
        "[" * 100_000,
        json.dumps(["a {}"] * 201),
        json.dumps(["a" * 299 + "{}"]),
    ],
    ids=lambda text: text[:20],
)
def test_invalid_templates_are_rejected(templates: str, tmp_path: Path) -> None:
    path = with_header(tmp_path, HEADER, templates=templates)
    with pytest.raises(CleanerError, match=r"x\.safetensors cannot be read as a model: its templates"):
        load_clip(str(path))
    path = with_header(tmp_path, HEADER, templates=json.dumps(TEMPLATES))
    assert load_clip(str(path)).templates == TEMPLATES


def test_a_bare_file_cannot_claim_more_memory_than_its_size(tmp_path: Path) -> None:
    """The attention mask of a text tower has the size of its context squared, and is in no file."""
    state = dict(openai().model.state_dict())
    state["positional_embedding"] = torch.zeros(100_000, 64)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CleanerError, match="context_length 100000, which must be a number from 1 to 4,096"):
        load_clip(str(tmp_path / "x.pt"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_views_cannot_claim_more_weights_than_the_file_size(dtype: torch.dtype, tmp_path: Path) -> None:
    """With stride 0, a single number makes a matrix of any size."""
    state = {
        key: torch.zeros((), dtype=dtype).expand(value.shape) for key, value in openai().model.state_dict().items()
    }
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CleanerError, match="unpacks to far more"):
        load_clip(str(tmp_path / "x.pt"))


def test_a_compressed_checkpoint_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as file, zipfile.ZipFile(tmp_path / "y.pt", "w", 8) as packed:
        for info in file.infolist():
            packed.writestr(info.filename, file.read(info))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(CleanerError, match="unpacks to far more"):
        load_clip(str(tmp_path / "y.pt"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x.to("meta"), "visual.proj is not a dense tensor"),
        (lambda x: x.to_sparse(), "visual.proj is not a dense tensor"),
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "visual.proj is not a dense tensor"),
        (lambda x: (x * 100).to(torch.int8), r"visual.proj is torch.int8 instead of torch.float32"),
        (lambda x: x.to(torch.complex64), r"visual.proj is torch.complex64 instead of torch.float32"),
    ],
    ids=["meta", "sparse", "quantized", "int8", "complex"],
)
def test_weights_must_be_dense_floats(change: Callable[[Tensor], Tensor], sentence: str, tmp_path: Path) -> None:
    state = dict(openai().model.state_dict())
    torch.save({**state, "visual.proj": change(state["visual.proj"])}, tmp_path / "x.pt")
    with pytest.raises(CleanerError, match=sentence):
        load_clip(str(tmp_path / "x.pt"))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_read_and_must_be_finite(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {key: value.to(dtype) for key, value in openai().model.state_dict().items()}
    torch.save(state, tmp_path / "x.pt")
    assert load_clip(str(tmp_path / "x.pt")).model.visual.proj.dtype == torch.float32
    state["visual.proj"] = torch.full_like(state["visual.proj"].float(), math.nan).to(dtype)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CleanerError, match=r"visual.proj contains numbers that are not finite"):
        load_clip(str(tmp_path / "x.pt"))


def test_a_file_without_positions_is_rejected(tmp_path: Path) -> None:
    state = {**openai().model.state_dict(), "visual.positional_embedding": torch.zeros(0, 64)}
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CleanerError, match="is not a CLIP of OpenAI's architecture"):
        load_clip(str(tmp_path / "x.pt"))


def test_a_nested_configuration_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("[" * 100_000)
    with pytest.raises(CleanerError, match="is not an open_clip model folder"):
        load_clip(str(tmp_path))


def test_open_clips_architectures_are_valid() -> None:
    for name in open_clip.list_models():
        assert get_open_clip_architecture(name).validate()


def test_an_error_of_open_clip_without_text_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(CleanerError, match="could not load ViT-B-32"):
        load_clip("ViT-B-32/openai")
