"""A trained network as a file that runs without this suite: by PyTorch, or by ONNX Runtime."""

import copy
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lib.errors import UserError, choose
from lib.models.conditional import Conditional
from lib.store import write_bytes

APART, STEPS = 1e-4, 4  # answers may be off by so much of the largest logit, or so many steps


@torch.no_grad()
def export(model: nn.Module, images: Tensor, file: str | Path) -> None:
    """Write what a network computes in evaluation mode, for any number of images like these.

    images are (N, C, H, W), in the layout that they will have. A file that ends in .pt2 becomes a
    module by `torch.export.load(file).module()`; one in .onnx has images for its input. The program
    is loaded and run on the images before it is written; one that answers differently is refused.
    """
    kind = choose("kind of file", Path(file).suffix, KINDS)
    if isinstance(model, Conditional):
        raise UserError("This network depends on λ; export what freeze(model, lam) returns.")
    still, two = copy.deepcopy(model).eval(), torch.cat([images, images])  # one would be the only N
    right = still(images)
    if not isinstance(right, Tensor):
        raise UserError(f"A network to export returns logits; {type(right).__name__} came back.")
    program = torch.export.export(still, (two,), dynamic_shapes=({0: Dim("batch")},))
    content, found = KINDS[kind](program, images)
    apart = float((found - right).abs().max() / right.abs().max())
    if not apart <= max(APART, STEPS * torch.finfo(right.dtype).eps):
        raise UserError(f"{file} would not answer as the network does: {apart:.1g} apart.")
    write_bytes(Path(file), content)


def _torch(program: ExportedProgram, images: Tensor) -> tuple[bytes, Tensor]:
    file = io.BytesIO()
    with warnings.catch_warnings():  # that a weight lies channels_last, as it is meant to
        warnings.filterwarnings("ignore", "No complete tensor found")
        torch.export.save(program, file)
    file.seek(0)
    return file.getvalue(), torch.export.load(file).module()(images)


def _onnx(program: ExportedProgram, images: Tensor) -> tuple[bytes, Tensor]:
    if images.dtype == torch.bfloat16:
        raise UserError("ONNX Runtime knows no bfloat16 on a CPU; export the network in float32.")
    try:
        from onnxruntime import InferenceSession

        names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
        made: Any = torch.onnx.export(program, dynamo=True, verbose=False, **names)
    except ImportError:
        needed = "onnx onnxruntime onnxscript"
        raise UserError(f".onnx needs more packages: python -m pip install {needed}") from None
    content = made.model_proto.SerializeToString()
    (logits,) = InferenceSession(content).run(None, {"images": images.numpy(force=True)})
    return content, torch.from_numpy(logits).to(images)


KINDS = {".pt2": _torch, ".onnx": _onnx}
