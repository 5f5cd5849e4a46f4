"""What only a GPU can show. Each test that a CPU can run too does so in the slow suite, as its twin."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.modules._functions import SyncBatchNorm

from benchmarks import gpu, protocol
from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES, Defense
from cleaner.evaluation.evaluate import evaluate
from cleaner.evaluation.scan import scan
from cleaner.files import read_json
from cleaner.inspection.inversion import InversionConfig, invert
from cleaner.models.clip import new_clip
from cleaner.models.devices import pick_precision
from cleaner.training import distributed
from cleaner.training.loop import finetune
from cleaner.types import CleanerError
from tests.conftest import make_clip, make_toy_data

HAS_GPU = torch.cuda.is_available()
NEEDS_GPU = pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU")
DEVICES = [
    pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_GPU]),
    pytest.param("cpu", marks=pytest.mark.slow),
]


def train(
    device: str, precision: str, batch_size: int = 16, model: str = "scenes-vit", **settings: object
) -> list[float]:
    """Return the loss of each of six steps of TA-Cleaner on a small model."""
    config = FinetuneConfig(
        lr=1e-4, steps=6, batch_size=batch_size, precision=precision, device=device, warmup_steps=1, **settings
    )
    clip = new_clip(model)
    result = finetune(clip, gpu.make_data(clip.image_size, 6 * batch_size), DEFENSES["ta_cleaner"](), config)
    return [report.losses["total"] for report in result.history]


@pytest.mark.parametrize("device", DEVICES)
def test_bf16_follows_fp32(device: str) -> None:
    assert train(device, "bf16") == pytest.approx(train(device, "fp32"), rel=0.02)


@pytest.mark.gpu
@NEEDS_GPU
def test_fp16_follows_fp32() -> None:
    assert train("cuda", "fp16") == pytest.approx(train("cuda", "fp32"), rel=0.02)


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("model", ["scenes-vit", "scenes-rn"])
def test_gpu_follows_cpu(model: str) -> None:
    on_gpu, on_cpu = (train(device, "fp32", model=model, freeze_bn=True) for device in ("cuda", "cpu"))
    assert on_gpu == pytest.approx(on_cpu, rel=1e-3)


@pytest.mark.gpu
@NEEDS_GPU
def test_the_floor_is_measured_where_the_model_runs() -> None:
    clip, trigger = make_clip(), TRIGGERS["badnet"](patch_size=56)
    metrics = evaluate(clip.to("cuda", "bf16"), make_toy_data(), trigger, "banana", clean_clip=clip)
    assert metrics.asr_clean_model == metrics.asr, "the same weights"


@pytest.mark.gpu
@NEEDS_GPU
def test_a_step_that_does_not_fit_is_halved() -> None:
    whole = train("cuda", "fp32", batch_size=256)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train("cuda", "fp32", batch_size=256)
    peak = torch.cuda.max_memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * peak / total)
    try:
        assert train("cuda", "fp32", batch_size=256) == pytest.approx(whole, rel=1e-3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.gpu
@NEEDS_GPU
def test_decoding_and_augmentation_keep_up_with_the_step(tmp_path: Path) -> None:
    """For a large model: by docs/scale.md one GPU outruns AutoAugment on the small ones, ViT-B-32 and RN50."""
    precision = pick_precision("cuda")
    config = FinetuneConfig(lr=1e-6, steps=12, batch_size=16, precision=precision, device="cuda")
    assert gpu.measure_loading(gpu.load_model("ViT-L-14"), config, tmp_path)["of_bare_rate"] > 0.9


@pytest.mark.parametrize("device", DEVICES)
def test_a_search_runs_on_the_device_of_its_model(device: str) -> None:
    clip, data = make_clip().to(device), make_toy_data()
    config = InversionConfig(images=32, search_steps=52, search_batch=4, patch_steps=10, batch_size=8)
    found = invert(clip, data, config, trigger=TRIGGERS["badnet"](), target_class=data.class_names[0])
    assert len(found.classes) == len(scan(clip, data, {"badnet": TRIGGERS["badnet"]()}))


@pytest.mark.parametrize("device", DEVICES)
def test_a_group_of_one_process_gathers_its_own_rows(device: str, tmp_path: Path) -> None:
    """NCCL on a GPU, gloo on a CPU."""
    backend = "nccl" if device == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        rows = torch.rand(5, 3, device=device, requires_grad=True)
        gathered = distributed._Gather.apply(rows)
        assert torch.equal(gathered[0], rows)
        gathered.sum().backward()
        assert torch.equal(rows.grad, torch.ones_like(rows))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_synchronized_batch_norm_of_one_process_equals_the_plain_one(dtype: torch.dtype, tmp_path: Path) -> None:
    """In a group of one, torch's layer is the plain one, so its function is called."""
    generator = torch.Generator("cuda").manual_seed(0)
    images, slope = (
        torch.randn(16, 8, 5, 7, device="cuda", generator=generator).to(dtype, memory_format=torch.channels_last)
        for _ in range(2)
    )
    results = []
    torch.distributed.init_process_group("nccl", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        for is_synchronized in (False, True):
            x, layer = images.clone().requires_grad_(), torch.nn.BatchNorm2d(8, device="cuda")
            if is_synchronized:
                statistics = (layer.running_mean, layer.running_var, layer.eps, layer.momentum)
                y = SyncBatchNorm.apply(x, layer.weight, layer.bias, *statistics, torch.distributed.group.WORLD, 1)
            else:
                y = layer(x)
            y.backward(slope)
            results.append([y, x.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var])
    finally:
        torch.distributed.destroy_process_group()
    tolerance = 1e-4 if dtype is torch.float32 else 2e-2
    torch.testing.assert_close(results[1], results[0], rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@NEEDS_GPU
def test_compiled_tower_gives_the_same_features() -> None:
    clip = new_clip("scenes-vit").to("cuda", "fp32")
    images = torch.rand(8, 3, 64, 64)
    with torch.no_grad():
        plain = clip.encode_image(images)
        clip.model.visual = torch.compile(clip.model.visual)
        assert torch.allclose(clip.encode_image(images), plain, atol=1e-3)


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40", None),
        ("NVIDIA A10G", None),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("processor, 4 threads", None),
    ],
)
def test_a_peak_belongs_to_one_card(card: str, peak: float | None) -> None:
    assert gpu.find_peak(card) == peak


def test_utilization_is_that_of_the_bare_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop may wait for AutoAugment, which says nothing about the card."""
    config = FinetuneConfig(batch_size=4, device="cpu")
    monkeypatch.setattr(gpu, "time_bare_step", lambda *_: 0.5)
    monkeypatch.setattr(gpu, "count_flops", lambda *_: 2e12)
    rows = []
    for seconds in (1.0, 10.0):
        trained = SimpleNamespace(seconds=3 * seconds, history=[None] * 3)
        monkeypatch.setattr(gpu, "finetune", lambda *_, trained=trained: trained)
        rows.append(gpu.measure_method(make_clip(), make_toy_data(), DEFENSES["cleanclip"](), config, 40.0))
    assert [row["of_bare_rate"] for row in rows] == pytest.approx([0.5, 0.05])
    assert [(row["tflops"], row["mfu"]) for row in rows] == [(4.0, 0.1)] * 2


def test_a_measurement_that_fails_is_left_out_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, written = tmp_path / "gpu.json", []

    def measure_method(clip: object, data: object, defense: Defense, *_: object) -> dict[str, float]:
        written.append([row["method"] for row in read_json(out)["rows"]] if out.exists() else [])
        if defense is gpu.METHODS["cleanclip"]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"images_per_second": 1.0}

    def measure_loading(*_: object) -> dict[str, float]:
        raise CleanerError("live BatchNorm")

    monkeypatch.setattr(gpu, "load_model", lambda name: SimpleNamespace(image_size=8))
    monkeypatch.setattr(gpu, "make_data", lambda *_: None)
    monkeypatch.setattr(gpu, "measure_method", measure_method)
    monkeypatch.setattr(gpu, "measure_loading", measure_loading)
    monkeypatch.setattr(protocol, "start", lambda: None)
    gpu.main(gpu.Options(device="cpu", tiny=True, tests=False, out=out))
    result = read_json(out)
    kept = [name for name in gpu.METHODS if name != "cleanclip"]
    assert [row["method"] for row in result["rows"]] == kept
    assert written == [[name for name in kept if name in list(gpu.METHODS)[:i]] for i in range(len(gpu.METHODS))]
    left_out = ["scenes-lite, cleanclip: CUDA out of memory", "scenes-lite, loading: live BatchNorm"]
    assert result["left_out"] == left_out


@pytest.mark.slow
def test_the_benchmark_runs_on_a_cpu(tmp_path: Path) -> None:
    gpu.main(gpu.Options(device="cpu", tiny=True, tests=False, out=tmp_path / "gpu.json"))
    result = read_json(tmp_path / "gpu.json")
    rows = {row["method"]: row for row in result["rows"]}
    assert rows.keys() == {*gpu.METHODS, "loading"}
    for method in gpu.METHODS:
        assert rows[method]["images_per_second"] > 0
        assert rows[method]["tflops"] > 0
        assert rows[method]["mfu"] is None  # the peak of a CPU is not known
    more = rows["cleanclip"]["tflops"] / rows["cleanclip"]["images_per_second"]
    assert more > rows["finetune"]["tflops"] / rows["finetune"]["images_per_second"]
    assert 0 <= rows["loading"]["waiting"] < 1
    assert rows["loading"]["of_bare_rate"] > 0
    assert result["left_out"] == []
    gpu.main(gpu.Options(device="cpu", tiny=True, minutes=0, out=tmp_path / "none.json"))
    assert "tests" in read_json(tmp_path / "none.json")["left_out"]
