"""Recorded steps train as others do; without a GPU a recording runs the step at each replay.

`tests/test_gpu.py` asks a GPU the same.
"""

import pytest
import torch

from lib import data, parallel, runs
from lib.methods import Hybrid, Oat, OatSlim, PgdAt
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.sparsity import Momentum
from lib.trainers import Trainer, graphed, make
from lib.trainers.attackers import trainer_of
from tests.trainers.test_waiting import CASES

STEPS = 3  # of an epoch


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


def trained(method, sparsity, kind, epochs=2, **more):
    recipe = Recipe(
        Data("digits"),
        Model("resnet18", 4),
        method,
        Train(epochs=epochs, batch=8),
        Attack(steps=2),
        sparsity,
    )
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8 * STEPS, 1, 8, 8), dtype=torch.uint8, generator=draw)
    part = data.Images(images, torch.randint(10, (8 * STEPS,), generator=draw))
    trainer = kind(recipe, runs.build(recipe), part)
    rows = [trainer.epoch() for _ in range(epochs)]
    return trainer, [row["loss"] for row in rows], trainer.model.state_dict()


def usual(recipe, model, part) -> Trainer:
    return trainer_of(recipe.method)(model, recipe, part, "fp32")


def as_graph(recipe, model, part) -> Trainer:
    return make(recipe, model, part, "fp32", "graph")


@pytest.mark.parametrize(("method", "sparsity"), CASES, ids=lambda v: type(v).__name__)
def test_recorded_steps_train_the_same_network(method, sparsity, recorded):
    _, losses, state = trained(method, sparsity, usual)
    assert not recorded
    trainer, again, same = trained(method, sparsity, as_graph)
    assert isinstance(trainer, graphed.Graphed) and isinstance(trainer, trainer_of(method))
    assert recorded and again == losses
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
    trainer, _, _ = trained(PgdAt(), None, lambda *given: as_graph(*given), epochs=0)
    assert type(trainer) is Trainer and trainer.network is trainer.model
