"""Clip: unit features, exact shortcuts, files that load bit for bit."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from cleaner.models import clip as clip_module
from cleaner.models.clip import BUILT_IN, Clip, load_clip, new_clip, save_clip
from cleaner.models.devices import image_format
from cleaner.models.token_blocks import GPU_BLOCK_ROWS, build_prefix_trees, sort_into_blocks, token_lengths
from cleaner.types import CleanerError
from tests.conftest import TINY, make_clip

CAPTIONS = ["a banana", "a small yellow banana to the left of a red car on the grass", "a banana"]


def test_features_are_unit_rows(tiny_clip: Clip) -> None:
    images = torch.rand(3, 3, 32, 32)
    for features in (tiny_clip.encode_image(images), tiny_clip.encode_text(CAPTIONS)):
        assert features.shape == (3, 32)
        assert features.dtype == torch.float32
        assert torch.allclose(features.norm(dim=1), torch.ones(3), atol=1e-5)


def test_text_features_equal_open_clips(tiny_clip: Clip) -> None:
    tokens = open_clip.SimpleTokenizer()(CAPTIONS, context_length=77)
    expected = F.normalize(tiny_clip.model.encode_text(tokens).float(), dim=-1)
    assert tiny_clip.tokenize(CAPTIONS).shape[1] < 77
    assert torch.allclose(tiny_clip.encode_text(CAPTIONS), expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 9, 33, 270])
def test_token_blocks_change_no_feature(count: int, tiny_clip: Clip) -> None:
    texts = [" ".join(["banana"] * (1 + 7 * i % 80)) + f" {i}" for i in range(count)]
    one_by_one = torch.cat([tiny_clip.encode_tokens(tiny_clip.tokenize([text])) for text in texts])
    features = tiny_clip.encode_text([*texts, texts[0]])
    assert torch.allclose(features, torch.cat([one_by_one, one_by_one[:1]]), atol=1e-5)
    ordered, sizes, _ = sort_into_blocks(tiny_clip.tokenize(texts), 77)
    assert len(sizes) <= 8
    assert all(length % 4 == 0 or length == 77 for _, length in sizes)
    assert count <= len(ordered) == sum(rows for rows, _ in sizes) <= max(count + 7, 64 * -(-count // 64))


@pytest.mark.parametrize("classes", [1, 3, 40])
def test_text_trees_change_no_feature(classes: int, tiny_clip: Clip) -> None:
    names = [f"{'very ' * (7 * i % 90)}old banana {i}" for i in range(classes)]  # also longer than the context
    texts = [template(name) for name in names for template in open_clip.SIMPLE_IMAGENET_TEMPLATES]
    texts = [*texts, texts[0], ""]
    with torch.inference_mode():
        features = tiny_clip.encode_text_trees(texts)
        assert torch.allclose(features, tiny_clip.encode_text(texts), atol=1e-5)
    assert tiny_clip.encode_text_trees([]).shape == (0, features.shape[1])


def test_shared_prefixes_appear_once() -> None:
    tokens = torch.tensor([[8, 3, 4, 9], [8, 3, 9, 0], [8, 3, 4, 9], [8, 5, 9, 0]])  # 8 begins and 9 ends a text
    trees = build_prefix_trees(tokens)
    assert trees.tokens.shape == (1, 32)
    assert trees.tokens.count_nonzero() == 7  # 8, 3, 4, 5, and 9 three times
    seen = [trees.tokens[0][row == 0].tolist() for row in trees.mask[0, trees.ends]]
    assert seen == [[8, 3, 4, 9], [8, 3, 9], [8, 3, 4, 9], [8, 5, 9]]
    assert trees.ends[0] == trees.ends[2]
    assert (trees.positions[0] + 1)[trees.ends].tolist() == [4, 3, 4, 3]
    small = build_prefix_trees(tokens, tree_tokens=5)
    assert small.tokens.shape == (2, 32)
    assert [small.tokens.flatten()[i].item() for i in small.ends] == [9, 9, 9, 9]


def test_captions_that_share_little_get_blocks(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = Clip.encode_packed
    monkeypatch.setattr(Clip, "encode_packed", lambda clip, texts: encoded.append(1) or encode(clip, texts))
    tiny_clip.encode_text_trees([f"{i} {'old banana ' * 15}" for i in range(32)])
    assert encoded
    encoded.clear()
    tiny_clip.encode_text_trees([f"a photo of a nice old banana {i}" for i in range(32)])
    assert not encoded


def test_class_prompts_fill_half_of_the_tokens_in_trees() -> None:
    clip = new_clip("scenes-rn")
    names = list(dict.fromkeys(open_clip.IMAGENET_CLASSNAMES))[:73]
    tokens = clip.tokenize([template(name) for name in names for template in open_clip.SIMPLE_IMAGENET_TEMPLATES])
    _, sizes, _ = sort_into_blocks(tokens, 77)
    assert build_prefix_trees(tokens).tokens.numel() < sum(rows * columns for rows, columns in sizes) / 2


@pytest.mark.parametrize(("count", "blocks"), [(5, 1), (256, 1), (300, 2), (5000, 8)])
def test_a_gpu_gets_fewer_and_larger_blocks(count: int, blocks: int, tiny_clip: Clip) -> None:
    tokens = tiny_clip.tokenize([" ".join(["banana"] * (1 + i * 70 // count)) for i in range(count)])
    ordered, sizes, _ = sort_into_blocks(tokens, 77, GPU_BLOCK_ROWS)
    assert len(sizes) <= blocks < len(sizes) + 2
    assert len(ordered) < count + 32 * blocks


def test_token_blocks_have_few_shapes() -> None:
    shapes = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        used = torch.randint(8, 25, (100 + seed % 20,), generator=generator)
        tokens = (torch.arange(25)[None] < used[:, None]).long()
        tokens[torch.arange(len(used)), used - 1] = 2
        ordered, sizes, place = sort_into_blocks(tokens, 77)
        assert torch.equal(token_lengths(ordered)[place], used)
        assert sum(rows * length for rows, length in sizes) < 25 * len(used)
        shapes |= set(sizes)
    assert len(shapes) < 16


class RandomNumbers(TorchDispatchMode):
    """Counts the random numbers that are drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.normal_, torch.ops.aten.uniform_) and args[0].device.type != "meta":
            self.count += args[0].numel()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", list(TINY))
def test_loading_draws_hardly_any_random_weights(kind: str, tmp_path: Path) -> None:
    path = save_clip(make_clip(kind), tmp_path / "model.safetensors")
    with RandomNumbers() as new:
        make_clip(kind)
    with RandomNumbers() as loaded:
        load_clip(str(path))
    assert loaded.count < 0.01 * new.count


def test_token_0_is_not_padding(tiny_clip: Clip) -> None:
    text = "!+ a !+ b"
    assert 0 in tiny_clip.tokenize([text])[0]
    assert tiny_clip.tokenize([text])[0, -1] == tiny_clip.tokenize([text]).max()


@pytest.mark.parametrize("caption", ["", "🍌🚗🍌", "word " * 500, "\n\t "])
def test_any_caption_is_accepted(tiny_clip: Clip, caption: str) -> None:
    assert torch.isfinite(tiny_clip.encode_text([caption])).all()


def test_a_bare_text_is_no_list_of_captions(tiny_clip: Clip) -> None:
    for encode in (tiny_clip.encode_text, tiny_clip.tokenize):
        with pytest.raises(CleanerError, match=r"list of texts.*\['a banana'\]"):
            encode("a banana")


def test_images_of_whole_numbers_are_refused(tiny_clip: Clip) -> None:
    with pytest.raises(CleanerError, match=r"uint8.*divide"):
        tiny_clip.encode_image(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_numpy_s_float64_images_are_read_as_the_weights(tiny_clip: Clip) -> None:
    images = torch.from_numpy(np.random.default_rng(0).random((2, 3, 40, 40)))
    assert torch.equal(tiny_clip.encode_image(images), tiny_clip.encode_image(images.float()))
    tiny_clip.model.double()
    assert tiny_clip.encode_image(images).dtype == torch.float64


def test_images_of_another_size_are_resized(tiny_clip: Clip) -> None:
    assert tiny_clip.encode_image(torch.rand(2, 3, 50, 50)).shape == (2, 32)


def test_clip_normalizes_images(tiny_clip: Clip) -> None:
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (tiny_clip.architecture.mean, tiny_clip.architecture.std))
    expected = F.normalize(tiny_clip.model.encode_image((images - mean) / std), dim=-1)
    assert torch.allclose(tiny_clip.encode_image(images), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_saved_model_loads_bit_for_bit(kind: str, tmp_path: Path) -> None:
    clip = make_clip(kind)
    clip.metadata = {"stage": "backdoored", "target": "banana"}
    again = load_clip(str(save_clip(clip, tmp_path / "model.safetensors")))
    assert again.sha256() == clip.sha256()
    assert again.architecture == clip.architecture
    assert again.metadata == {"stage": "backdoored", "target": "banana"}
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_half_keeps_statistics_and_logit_scale_exact(tmp_path: Path) -> None:
    clip = make_clip("rn")
    again = load_clip(str(save_clip(clip, tmp_path / "model.safetensors", half=True)))
    before, after = clip.model.state_dict(), again.model.state_dict()
    assert torch.equal(before["logit_scale"], after["logit_scale"])
    assert torch.equal(before["visual.bn1.running_var"], after["visual.bn1.running_var"])
    assert torch.equal(before["token_embedding.weight"].half().float(), after["token_embedding.weight"])


def test_copy_does_not_share_weights(tiny_clip: Clip) -> None:
    copy = tiny_clip.copy()
    with torch.no_grad():
        copy.model.text_projection.zero_()
    assert tiny_clip.model.text_projection.abs().sum() > 0


def test_unknown_names_and_broken_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(CleanerError, match="scenes-rn, scenes-vit"):
        load_clip("scenes-xl")
    with pytest.raises(CleanerError, match="scenes-rn, scenes-vit"):
        new_clip("nothing")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a model")
    with pytest.raises(CleanerError, match="cannot be read as a model"):
        load_clip(str(broken))
    with pytest.raises(CleanerError, match=r"there is no file .*absent\.safetensors: check the path"):
        load_clip(str(tmp_path / "absent.safetensors"))
    described = {"architecture": json.dumps(asdict(TINY["vit"])), "name": "other"}
    weights = {key: value.contiguous() for key, value in make_clip("rn").model.state_dict().items()}
    save_file(weights, tmp_path / "wrong.safetensors", metadata=described)
    with pytest.raises(CleanerError, match="do not fit"):
        load_clip(str(tmp_path / "wrong.safetensors"))


def test_weights_of_another_renderer_are_refused(tiny_clip: Clip, tmp_path: Path) -> None:
    tiny_clip.metadata = {"data": "scenes", "data_version": "0"}
    path = save_clip(tiny_clip, tmp_path / "old.safetensors")
    with pytest.raises(CleanerError, match="version 0 of scenes"):
        load_clip(str(path))


def test_unknown_precision_is_rejected(tiny_clip: Clip) -> None:
    with pytest.raises(CleanerError, match=r"auto, fp32, bf16, fp16, not 'float32'"):
        tiny_clip.to("cpu", "float32")


def test_building_and_loading_keep_the_random_state(tiny_clip: Clip, tmp_path: Path) -> None:
    path = save_clip(tiny_clip, tmp_path / "clip.safetensors")
    before = torch.get_rng_state()
    new_clip("scenes-vit")
    load_clip(str(path))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_built_in_architectures_are_open_clips_own(name: str) -> None:
    clip = new_clip(name)
    assert isinstance(clip.model, open_clip.CustomTextCLIP if clip.has_sigmoid_loss else open_clip.CLIP)
    assert clip.encode_image(torch.rand(1, 3, 64, 64)).shape == (1, 128)
    assert new_clip(name).sha256() == clip.sha256()


def test_a_built_in_model_needs_only_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_ASSETS", str(tmp_path))
    for name in BUILT_IN:
        with pytest.raises(CleanerError, match=f"Train them: python -m cleaner pretrain --model {name}"):
            load_clip(name)
        clip = new_clip(name)
        path = save_clip(clip, tmp_path / name / "model.safetensors", half=True)
        assert path.stat().st_size < 22e6  # all of them are shipped
        images = torch.rand(2, 3, clip.image_size, clip.image_size)
        assert load_clip(name).encode_image(images).allclose(clip.encode_image(images), atol=2e-2)


def test_images_and_weights_have_the_format_of_their_device(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [image_format(torch.device(kind)) for kind in ("cpu", "cuda", "mps")] == [
        torch.channels_last,
        torch.channels_last,
        torch.contiguous_format,
    ]
    monkeypatch.setattr(clip_module, "image_format", lambda _: torch.contiguous_format)
    moved = tiny_clip.to("cpu")
    assert moved.preprocess(torch.rand(2, 3, 32, 32)).is_contiguous()
    assert all(weight.is_contiguous() for weight in moved.model.parameters())
