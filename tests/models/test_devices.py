"""Devices, precisions, and the configuration of torch."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from threading import Thread

import pytest
import torch

from cleaner.models import devices
from cleaner.models.clip import Clip
from cleaner.models.devices import (
    BF16_CHECKS,
    check_devices,
    check_precisions,
    flush_denormals,
    pick_device,
    pick_precision,
)
from cleaner.types import CleanerError


def test_unavailable_devices_have_a_reason() -> None:
    found = check_devices()
    assert found["cpu"] is None
    assert all(reason is None or len(reason) > 5 for reason in found.values())
    assert check_precisions("cpu")["fp16"] is not None
    assert check_precisions("cpu")["fp32"] is None


def test_a_mac_is_told_which_system_its_gpu_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(devices.platform, "system", lambda: "Darwin")
    assert "macOS 14" in str(check_devices()["mps"])


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((6, 1), "sm_75 sm_80 sm_90 sm_100 sm_120", False),
        ((8, 9), "sm_75 sm_80", True),
        ((8, 0), "sm_86", False),
        ((9, 0), "sm_90a", True),
        ((12, 0), "sm_90 sm_100", False),
        ((12, 1), "sm_90 sm_120", True),
        ((12, 0), "sm_75 compute_90", True),
        ((7, 0), "sm_75 compute_120", False),
    ],
)
def test_a_gpu_without_code_for_it_is_not_chosen(
    capability: tuple[int, int], architectures: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", architectures.split)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto").type == ("cuda" if runs else "cpu")
    if not runs:
        with pytest.raises(CleanerError, match="no code for this GPU"):
            pick_device("cuda")


@pytest.mark.parametrize(("cuda", "remedy"), [("13.0", "driver"), (None, "pytorch.org")])
def test_reason_without_a_usable_gpu_says_what_to_do(
    cuda: str | None, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert remedy in str(check_devices()["cuda"])
    with pytest.raises(CleanerError, match=remedy):
        pick_device("cuda:1")
    with pytest.raises(CleanerError, match=r"'xpu' is not available here\. Use one of: "):
        pick_device("xpu")


@pytest.mark.parametrize(("supported", "fast"), [(None, "fp32"), *((check, "bf16") for check in BF16_CHECKS)])
def test_auto_precision_depends_on_the_cpu(
    supported: str | None, fast: str, tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    for check in BF16_CHECKS:
        monkeypatch.setattr(torch.cpu, check, partial(bool, check == supported))
    assert pick_precision("cpu") == fast
    assert tiny_clip.to("cpu", "auto").precision == fast
    assert pick_precision("cpu", "bf16") == "bf16"
    assert tiny_clip.to("cpu").precision == "fp32"


def test_auto_precision_is_fp16_where_bf16_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert pick_precision("cuda") == "fp16"
    assert check_precisions("cuda")["bf16"] is not None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a new thread may begin with a state of its own")
def test_threads_started_later_flush_denormals_too() -> None:
    found: list[float] = []
    flush_denormals()
    thread = Thread(target=lambda: found.append(float(torch.tensor(1e-39) * 0.5)))
    thread.start()
    thread.join()
    torch.set_flush_denormal(False)
    assert found == [0.0]
    assert float(torch.tensor(1e-39) * 0.5) > 0


def test_fp32_is_not_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("flush_denormals", "install_cpu_attention", "keep_freed_memory"):
        monkeypatch.setattr(devices, name, lambda: None)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        devices.configure_torch()
    assert not torch.backends.cudnn.allow_tf32
