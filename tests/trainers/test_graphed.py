"""Recorded steps train as others do; without a GPU a recording runs the step at each replay.

`tests/test_gpu.py` asks a GPU the same.
"""

from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch

from lib import data, networks, parallel
from lib.device import GRAPH
from lib.errors import UserError
from lib.methods import Hybrid, Msd, Oat, OatSlim, PgdAt
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.sparsity import Admm, AdmmInner, Fixed, FixedAll, Hydra, Momentum, Snip
from lib.trainers import Trainer, graphed, make
from lib.trainers.attackers import trainer_of
from tests.trainers.test_waiting import CASES

STEPS = 3  # of an epoch
KEPT = [Fixed(), FixedAll(), Hydra(0.3), Admm(0.3, every=1), AdmmInner(every=1), Snip(0.3)]


@pytest.fixture
def recorded(monkeypatch):
    """Record by running the step at each replay; return what was recorded."""
    made = []

    def record(step, draws):
        """Run the step once without effect on the network, as recording it on a GPU does."""
        model = step.args[0].attack.func.__self__.model
        before = {name: t.clone() for name, t in model.state_dict().items()}
        states = torch.get_rng_state(), draws.get_state()
        out = step().clone()
        made.append(step)
        model.load_state_dict(before)
        torch.set_rng_state(states[0])
        draws.set_state(states[1])
        return (lambda: out.copy_(step())), out

    monkeypatch.setattr(graphed, "record", record)
    return made


def trained(method, sparsity, kind, epochs=2):
    parts = (Data("digits"), Model("resnet18", 4), method, Train(epochs=epochs, batch=8))
    recipe = Recipe(*parts, Attack(steps=2))
    start = recipe if sparsity and sparsity.trained else None
    recipe = replace(recipe, sparsity=sparsity, start=start)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8 * STEPS, 1, 8, 8), dtype=torch.uint8, generator=draw)
    part = data.Images(images, torch.randint(10, (8 * STEPS,), generator=draw))
    trainer = kind(recipe, networks.fresh(recipe), part)
    rows = [trainer.epoch() for _ in range(epochs)]
    return trainer, [row["loss"] for row in rows], trainer.model.state_dict()


def usual(recipe, model, part) -> Trainer:
    return trainer_of(recipe.method)(model, recipe, part, "fp32")


def as_graph(recipe, model, part) -> Trainer:
    return make(recipe, model, part, "fp32", GRAPH)


@pytest.mark.parametrize(
    ("method", "sparsity"),
    [*CASES, *((PgdAt(), part) for part in KEPT)],
    ids=lambda v: type(v).__name__,
)
def test_recorded_steps_train_the_same_network(method, sparsity, recorded):
    _, losses, state = trained(method, sparsity, usual)
    assert not recorded
    trainer, again, same = trained(method, sparsity, as_graph)
    assert isinstance(trainer, trainer_of(method)) and again == losses
    # MSD draws numbers that a recording would repeat
    assert isinstance(trainer, graphed.Graphed) == bool(recorded) == (not isinstance(method, Msd))
    assert all(torch.equal(state[name], same[name]) for name in state)


@pytest.mark.parametrize(
    ("method", "sparsity", "times"),
    [(PgdAt(), None, 1), (Hybrid(clean_epochs=1), None, 2), (PgdAt(0.5), Momentum(0.2), 3)],
)
def test_a_step_is_recorded_once_for_what_stays_the_same(method, sparsity, times, recorded):
    trained(method, sparsity, as_graph, epochs=3)
    assert len(recorded) == times


@pytest.mark.parametrize("method", [Oat(), OatSlim()], ids=lambda m: m.kind)
def test_afterwards_objective_and_encoder_draw_and_encode_as_before(method, recorded):
    plain = graphed.objectives.sample_lambdas
    trainer, _, _ = trained(method, None, as_graph)
    assert recorded and graphed.objectives.sample_lambdas is plain
    assert "encode_each" not in vars(trainer.model.encoder)


def test_processes_that_train_together_record_nothing(monkeypatch):
    monkeypatch.setattr(parallel, "size", lambda: 2)
    trainer, _, _ = trained(PgdAt(), None, as_graph, epochs=0)
    assert type(trainer) is Trainer and trainer.network is trainer.model


def test_what_cannot_be_recorded_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Mock())
    monkeypatch.setattr(torch.cuda, "graph", Mock(side_effect=RuntimeError("not permitted here")))
    with pytest.raises(UserError, match=r"not permitted .*; run it again with SUITE_COMPILE="):
        trained(PgdAt(), None, as_graph)
