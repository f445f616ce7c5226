"""Networks compute what float64 does on this processor, whatever kernels its library chooses.

Found on processors with AVX2 alone; `ONEDNN_MAX_CPU_ISA=AVX2` shows it on newer ones, and
`./run_all.sh --test` runs this folder a second time that way.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from lib.methods import METHODS
from lib.models import BACKBONES, compact, create, freeze

SCRIPT = Path(__file__).with_name("kernels.py")
ROOT = Path(__file__).resolve().parents[2]


def checked(what: str) -> subprocess.CompletedProcess[str]:
    env = {name: os.environ[name] for name in os.environ if name != "OMP_NUM_THREADS"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), what],
        env=env | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("what", ["layers", "networks"])
def test_gradients_are_those_of_float64_in_both_formats_with_one_and_two_threads(what):
    ended = checked(what)
    assert ended.returncode == 0, f"ended with {ended.returncode}: {ended.stderr[-500:]}"
    *differing, last = ended.stdout.splitlines()
    assert differing == [] and int(last.removeprefix("checked ")) > 5


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_no_1x1_convolution_has_a_stride_of_its_own(backbone, method):
    model = create(method, backbone, width=4)
    for network in (model, frozen := freeze(model, lam=0.0), compact(frozen)):
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert {m.stride for m in convolutions if m.kernel_size == (1, 1)} <= {(1, 1)}
        projects = any(m.kernel_size == (1, 1) for m in convolutions)
        assert projects == (backbone not in ("resnet20", "vgg16", "vgg16_hydra"))
