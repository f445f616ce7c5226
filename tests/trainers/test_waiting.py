"""Inside a step the host reads nothing that a GPU computes: it would wait, and the GPU after it.

`tests/test_gpu.py` asks a GPU the same; here all is followed that comes of images and network.
"""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib import data, runs
from lib.methods import METHODS, Float, Hybrid, PgdAt, Pni
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.sparsity import Dnr, Lasso, Momentum
from lib.trainers import Trainer, make

READS = {"_local_scalar_dense", "equal", "masked_select", "nonzero", "unique2", "_unique2"}
CASES = [(Pni(clean_epochs=0) if m is Pni else m(), None) for m in METHODS.values()]
CASES += [(Float(), Momentum(0.2)), (Float(loop="released"), None)]
CASES += [(Hybrid(clean_epochs=0), Dnr(0.2, clean_epochs=0)), (PgdAt(0.5), Lasso())]


def whole(method, sparsity=None, place="cpu", backend="", **options) -> Trainer:
    """A training that takes the whole path: colours, crops, channels_last, bf16, noise, starts."""
    recipe = Recipe(
        Data("cifar10", split="all"),
        Model("resnet18", 4),
        method,
        Train(epochs=1, batch=8),
        Attack(**{"steps": 2, **options}),
        sparsity,
    )
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, 3, 32, 32), dtype=torch.uint8, generator=draw)
    labels = torch.randint(10, (24,), generator=draw)
    part = data.Images(images, labels).to(place)
    return make(recipe, runs.build(recipe), part, "bf16", backend)


class Followed(TorchDispatchMode):
    """Notes which operations read a value of some tensors, or of what was computed from them."""

    def __init__(self, *tensors: Tensor):
        super().__init__()
        self.known = {}
        self.reads = []
        self.add(tensors)

    def add(self, tensors):
        stores = (t.untyped_storage() for t in tensors)
        self.known |= {store._cdata: store for store in stores}  # kept, so that no number is reused

    def has(self, tensor):
        return tensor.untyped_storage()._cdata in self.known

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        out = func(*args, **(kwargs or {}))
        if any(map(self.has, given)):
            name = func.overloadpacket.__name__
            masks = name == "index" and any(t.dtype == torch.bool for t in given[1:])
            self.reads += [name] * (name in READS or masks)
            self.add(t for t in tree_leaves(out) if isinstance(t, Tensor))
        return out


@pytest.fixture
def followed(monkeypatch):
    """Return a mode that also notes what never reaches the dispatcher."""

    def make(*tensors):
        mode = Followed(*tensors)
        for name in ("tolist", "numpy", "cpu"):
            plain = getattr(Tensor, name)

            def noted(tensor, *rest, plain=plain, name=name, **more):
                mode.reads += [name] * mode.has(tensor)
                return plain(tensor, *rest, **more)

            monkeypatch.setattr(Tensor, name, noted)
        return mode

    return make


def test_reading_is_noticed(followed):
    x, other = torch.rand(3), torch.rand(3)
    with (mode := followed(x)):
        assert other.sum().item() > 0 and other.tolist() and other[other > 2].numel() == 0
        assert mode.reads == []
        y = x * 2 + other
        (y.sum().item(), bool(y[0] > 3), y[y > 1], (y + 1).tolist(), y.cpu(), y.nonzero())
    expected = ["_local_scalar_dense"] * 2 + ["index", "tolist", "cpu", "nonzero"]
    assert mode.reads == expected


@pytest.mark.parametrize(("method", "sparsity"), CASES, ids=lambda v: type(v).__name__)
def test_a_step_reads_nothing_that_a_gpu_computes(method, sparsity, followed):
    t = whole(method, sparsity)
    steps = t.steps(0)
    next(steps)  # momentum and batches are there from now on
    tensors = [*t.model.parameters(), *t.model.buffers(), t.images.images, t.images.labels]
    with followed(*tensors) as mode:
        loss = next(steps)
    assert mode.has(loss) and mode.reads == []
