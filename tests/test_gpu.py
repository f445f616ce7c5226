"""A step of every trainer on a GPU: as on the CPU, repeatable and without a wait."""

import pytest
import torch

from lib import device, scoring
from lib.methods import Float, FloatSlim, Hybrid, Msd, Oat, OatSlim, PgdAt, Plain, Pni, Smart
from lib.protocol import Protocol
from lib.sparsity import Dnr, Momentum
from lib.trainers import Trainer
from tests.trainers.test_waiting import CASES, whole

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
# Every trainer; scales of 0 make a draw of noise, which differs by device, count for nothing
SILENT = [
    *((Plain(), None), (PgdAt(0.5), None), (Oat(), None), (OatSlim(), None)),
    *((m(alpha=0.0), None) for m in (Float, FloatSlim, Smart)),
    (Pni(alpha=0.0, clean_epochs=0), None),
    (Float(alpha=0.0, loop="released"), None),
    (Float(alpha=0.0), Momentum(0.2)),
    (Hybrid(clean_epochs=0), Dnr(0.2, clean_epochs=0)),
]
REAL = device.device


def trainer(monkeypatch, place: str, precision: str, *case, **options) -> Trainer:
    """A trainer on a device, with the images there."""
    REAL()  # sets the GPU up
    monkeypatch.setattr(device, "device", lambda: torch.device(place))
    t = whole(*case, place=place, **options)
    t.precision = precision
    return t


def weights(t: Trainer) -> torch.Tensor:
    """Return all parameters of a network but its scales of noise."""
    named = ((n, p.detach().cpu().double()) for n, p in t.model.named_parameters())
    return torch.cat([p.flatten() for n, p in named if not n.endswith("alpha")])


@pytest.mark.parametrize(("method", "sparsity"), SILENT, ids=lambda v: type(v).__name__)
def test_a_step_is_the_same_on_both_devices(method, sparsity, monkeypatch):
    losses, moves = [], []
    for place in ("cpu", "cuda"):
        t = trainer(monkeypatch, place, "fp32", method, sparsity, random_start=False)
        start = weights(t)
        losses.append(float(next(t.steps(0))))
        moves.append(weights(t) - start)
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    assert (moves[0] - moves[1]).norm() < 0.05 * moves[0].norm()


@pytest.mark.parametrize("backend", ["", "inductor"])
@pytest.mark.parametrize(("method", "sparsity"), CASES, ids=lambda v: type(v).__name__)
def test_a_step_in_bf16_repeats_itself_and_never_waits(method, sparsity, backend, monkeypatch):
    losses = []
    for _ in range(2):
        t = trainer(monkeypatch, "cuda", "bf16", method, sparsity, backend=backend)
        steps = t.steps(0)
        next(steps)  # momentum and the order of images are there from now on
        torch.cuda.set_sync_debug_mode("error")
        try:
            losses.append(next(steps))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert losses[0].isfinite() and torch.equal(*losses)


@pytest.mark.parametrize(("method", "sparsity"), CASES, ids=lambda v: type(v).__name__)
def test_recorded_steps_are_those_of_every_kernel_by_itself(method, sparsity, monkeypatch):
    losses, ends = [], []
    for backend in ("", device.GRAPH):
        t = trainer(monkeypatch, "cuda", "bf16", method, sparsity, backend=backend)
        found = [*t.steps(0)]  # two as usual, then the first that is played
        steps = t.steps(1)
        found.append(next(steps))
        if backend and not sparsity:  # a pruner's steps are recorded anew in every epoch
            torch.cuda.set_sync_debug_mode("error")
        try:
            found += steps
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert not backend or isinstance(method, Msd) or t.replay
        losses.append(torch.stack(found))
        ends.append(weights(t))
    assert torch.equal(*losses) and torch.equal(*ends)


AUTO = {"attack": "autoattack", "version": "standard", "steps": 5, "queries": 20}
PGD = {"attack": "pgd", "steps": 3, "random_start": False}


@pytest.mark.parametrize("attack", [PGD, AUTO, AUTO | {"version": "rand"}])
def test_evaluation_agrees_between_devices(monkeypatch, attack):
    hits = []
    for place in ("cpu", "cuda"):
        t = trainer(monkeypatch, place, "fp32", Float(alpha=0.0))
        protocol = Protocol(lam=1.0, eps=0.01, **attack)
        hits.append(scoring.correct(t.model, t.images, protocol))
    assert (hits[0] == hits[1]).double().mean() >= 0.9
