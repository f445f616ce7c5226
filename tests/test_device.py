"""What the device is measured for, and who decides otherwise."""

import mmap
import sys

import pytest
import torch

from lib import device, paths, store


@pytest.fixture
def trials(results, monkeypatch):
    """A machine without a choice yet, whose trials take what the test says."""
    seconds: dict[str, float] = {}
    monkeypatch.setattr(device, "_trial", lambda precision: seconds[precision])
    monkeypatch.setattr(device, "fastest", device.fastest.__wrapped__)
    return seconds


@pytest.mark.parametrize(("bf16", "chosen"), [(0.5, "bf16"), (0.79, "bf16"), (0.81, "fp32")])
def test_bfloat16_is_chosen_where_clearly_faster_and_images_are_not_tiny(trials, bf16, chosen):
    trials |= {"fp32": 1.0, "bf16": bf16}
    assert device.precision("auto", 32) == chosen
    assert device.precision("auto", 8) == "fp32"  # on a CPU
    assert device.precision("bf16", 8) == "bf16"


@pytest.mark.parametrize("bf16", [True, False])
def test_a_gpu_computes_in_bfloat16_if_it_can_whatever_trials_say(bf16, trials, monkeypatch):
    trials |= {"fp32": 1.0, "bf16": 2.0}
    assert device.used_precision("auto", 32) == "fp32"
    said = device.describe()
    monkeypatch.setattr(device, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(device, "describe", lambda: said)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    assert device.used_precision("auto", 32) == ("bf16" if bf16 else "fp32")
    assert device.used_precision("auto", 8) == device.used_precision("fp32", 32) == "fp32"


def test_the_choice_is_kept_and_measured_again_on_another_machine_or_where_it_is_damaged(trials):
    trials |= {"fp32": 1.0, "bf16": 0.5}
    assert device.fastest() == "bf16"
    trials["bf16"] = 2.0
    assert device.fastest() == "bf16"
    kept = paths.runs() / ".device.json"
    for content in ({**store.read_json(kept), "cap": "another"}, {}, {"precision": "fp8"}):
        store.write_json(kept, content)
        assert device.fastest() == "fp32"


def test_steps_are_recorded_on_a_gpu_and_compiled_only_if_somebody_says_so(monkeypatch):
    for kind, usual in (("cpu", ""), ("cuda", device.GRAPH)):
        monkeypatch.setattr(device, "device", lambda kind=kind: torch.device(kind))
        assert device.backend() == usual
    monkeypatch.setenv("SUITE_COMPILE", "inductor")
    assert device.backend() == "inductor"


def test_whether_anything_can_be_compiled_is_tried_once(monkeypatch):
    device.compiles.cache_clear()
    for compile_, works in ((lambda f: f, True), (lambda f: 1 / 0, False)):
        monkeypatch.setattr(torch, "compile", compile_)
        assert device.compiles() is works
        monkeypatch.setattr(torch, "compile", None)
        assert device.compiles() is works
        device.compiles.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="a peak can be forgotten on Linux only")
def test_memory_that_is_given_back_counts_until_the_peak_is_forgotten():
    held = mmap.MAP_PRIVATE | mmap.MAP_POPULATE  # of a tensor, an allocator may keep the bytes
    with mmap.mmap(-1, 200_000_000, held):
        most = device.peak_memory()
    device.forget_peak()
    assert device.peak_memory() < most - 100_000_000
