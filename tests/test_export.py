"""Exported networks answer as the network does, in a process that knows nothing of the suite."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from lib import export as exporting
from lib.deployment import fastest
from lib.errors import UserError
from lib.export import export
from lib.models import create
from lib.models.depthwise import FORMS, Summed, equivalents
from lib.models.gdws import convert

LOAD = {
    ".pt2": "import torch; run = torch.export.load(file).module()",
    ".onnx": """import onnxruntime
session = onnxruntime.InferenceSession(file)
run = lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0])""",
}
RUN = """import sys
sys.modules["lib"] = None  # as if it were not installed
import torch
file, *numbers = sys.argv[1:]
{}
images = torch.load(file + ".images")
torch.save([run(images[:int(n)]) for n in numbers], file + ".logits")
"""
needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnxruntime", "onnxscript"))), reason="no ONNX here"
)
KINDS = [".pt2", pytest.param(".onnx", marks=needs_onnx)]


@pytest.fixture
def model() -> nn.Module:
    """A network of nobody's: strides, a bias, padding around the edge, batch norm."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, (3, 5), stride=2, padding=(1, 2), padding_mode="circular"),
        nn.Conv2d(8, 8, 3, dilation=2, padding="same", bias=False),
        nn.Flatten(),
        nn.Linear(128, 10),
    ).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_answers_without_the_suite_for_any_number_of_images(kind, model, images, tmp_path):
    small = convert(model, budget=40)
    networks = [equivalents(small, form) for form in FORMS] + [fastest(small, images, model)]
    mixed = Summed(networks).to(memory_format=torch.channels_last)
    path = tmp_path / f"network{kind}"
    export(mixed.train(), images[:1], path)
    torch.save(images, f"{path}.images")
    code = [sys.executable, "-c", RUN.format(LOAD[kind]), str(path), "1", "3", "8"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    subprocess.run(code, cwd=tmp_path, env=environment, check=True)
    mixed.eval()
    for n, logits in zip((1, 3, 8), torch.load(f"{path}.logits"), strict=True):
        torch.testing.assert_close(logits, mixed(images[:n]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_in_half_precision_answers_as_closely_as_that_can(kind, model, images, tmp_path):
    export(model.half(), images.half(), tmp_path / f"network{kind}")
    assert [path.name for path in tmp_path.iterdir()] == [f"network{kind}"]


def test_a_file_that_answers_otherwise_is_not_kept(model, images, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.KINDS, ".pt2", lambda _, x: (b"", model(x) + 1))
    with pytest.raises(UserError, match="would not answer"):
        export(model, images, tmp_path / "network.pt2")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused_in_a_sentence(model, images, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="freeze"):
        export(create("smart", "resnet20", width=4), images, tmp_path / "network.pt2")
    with pytest.raises(UserError, match=r"\.pt2"):
        export(model, images, tmp_path / "network.pth")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="python -m pip install onnx"):
        export(model, images, tmp_path / "network.onnx")
    with pytest.raises(UserError, match="bfloat16"):
        export(model.bfloat16(), images.bfloat16(), tmp_path / "network.onnx")
    monkeypatch.setattr(nn.Linear, "forward", lambda *_: {"logits": images})
    with pytest.raises(UserError, match="dict came back"):
        export(model, images.bfloat16(), tmp_path / "network.pt2")
