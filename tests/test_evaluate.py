"""Evaluation: it attacks what it scores, changes nothing, and keeps its records."""

import json

import pytest
import torch
from torch import nn

from lib import data, evaluate, metrics, paths, runs
from lib.claims import wilson
from lib.data import Images
from lib.errors import UserError
from lib.models import create
from lib.papers import smart
from lib.protocol import Protocol
from lib.recipe import Attack, Data, Model, PgdAt, Recipe, Smart, Train
from lib.rows import COLUMNS

PGD = Protocol(attack="pgd", eps=0.1, steps=3)


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    return tmp_path


def pictures(n: int = 12, channels: int = 3) -> Images:
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(0, 256, (n, channels, 8, 8), dtype=torch.uint8, generator=generator)
    return Images(x, torch.randint(0, 10, (n,), generator=generator))


class Constant(nn.Module):
    """Says the same class for every image."""

    def __init__(self, label: int):
        super().__init__()
        self.label = label
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        logits = torch.zeros(len(x), 10) + self.weight + 0 * x.sum()
        logits[:, self.label] += 1
        return logits


@pytest.mark.parametrize("protocol", [Protocol(), PGD, Protocol(attack="fgsm", eps=0.1)])
def test_a_constant_classifier_is_right_where_its_label_is(protocol):
    images = pictures()
    hits = evaluate.correct(Constant(4), images, protocol)
    assert torch.equal(hits, images.labels == 4)


def test_radius_zero_is_clean():
    model = create("plain", "resnet18", width=4).eval()
    clean = evaluate.correct(model, pictures(), Protocol())
    for attack in ("pgd", "fgsm"):
        attacked = evaluate.correct(model, pictures(), Protocol(attack=attack, eps=0.0))
        assert torch.equal(clean, attacked)


def test_evaluation_changes_nothing_and_is_reproducible():
    model = create("smart", "resnet18", width=4).train()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    state = torch.get_rng_state()
    first = evaluate.correct(model, pictures(), Protocol(lam=1.0, attack="pgd", steps=2))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    second = evaluate.correct(model, pictures(), Protocol(lam=1.0, attack="pgd", steps=2))
    assert torch.equal(first, second)


def test_the_attack_sees_the_scored_trade_off(monkeypatch):
    model = create("float", "resnet18", width=4).eval()
    lams = []
    original = type(model).forward
    monkeypatch.setattr(
        type(model),
        "forward",
        lambda self, x, lam=0.0, **kw: lams.append(lam) or original(self, x, lam, **kw),
    )
    evaluate.correct(model, pictures(4), Protocol(lam=0.7, attack="pgd", steps=3))
    assert len(lams) == 4  # three gradients and the score
    assert set(lams) == {0.7}


def test_frozen_noise_is_one_network_for_attack_and_score():
    model = create("float", "resnet18", width=4).eval()
    f = evaluate.function(model, Protocol(lam=1.0, noise="frozen", seed=3))
    x = pictures().images.float() / 255
    torch.testing.assert_close(f(x), f(x), rtol=0, atol=0)
    fresh = evaluate.function(model, Protocol(lam=1.0))
    assert not torch.equal(fresh(x), fresh(x))


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 601])
def test_bits_come_back(n):
    hits = torch.rand(n) > 0.5
    assert evaluate.unpack(evaluate.pack(hits), n) == hits.tolist()


RECIPE = Recipe(
    Data("digits", train_images=64),
    Model("resnet18", width=4),
    Smart(),
    Train(epochs=1, batch=32, precision="fp32"),
    Attack(eps=0.25, steps=1),
)


def test_an_evaluation_is_measured_once_and_equals_a_fresh_count(monkeypatch):
    run = runs.fit(RECIPE)
    protocol = Protocol(images=40)
    record = evaluate.evaluate(run, protocol)
    images = data.load("digits", "test", limit=40)
    logits = run.model()(images.images.float() / 255, lam=0.0)
    expected = logits.argmax(1) == images.labels
    assert evaluate.unpack(record["bits"], record["n"]) == expected.tolist()
    assert (record["n"], record["correct"]) == (40, int(expected.sum()))
    monkeypatch.setattr(evaluate, "correct", None)
    assert evaluate.evaluate(run, protocol) == record


def test_a_doctored_record_is_measured_anew():
    run = runs.fit(RECIPE)
    record = evaluate.evaluate(run, Protocol(images=40))
    path = run.folder / "evaluations" / f"{Protocol(images=40).key}.json"
    content = json.loads(path.read_text())
    content["correct"] = 40
    path.write_text(json.dumps(content))
    assert evaluate.evaluate(run, Protocol(images=40))["correct"] == record["correct"]
    assert len(list(path.parent.glob("*.damaged-1"))) == 1


def test_protocol_keys_differ_where_numbers_would():
    variants = [
        Protocol(),
        Protocol(lam=0.2),
        PGD,
        Protocol(attack="pgd", eps=0.1, steps=20),
        Protocol(attack="pgd", eps=0.1, steps=3, eot=2),
        Protocol(attack="pgd", eps=0.1, steps=3, noise="frozen"),
        Protocol(images=10),
    ]
    assert len({p.key for p in variants}) == len(variants)
    assert PGD.key == Protocol(attack="pgd", eps=0.1, steps=3, lam=0).key


def test_measure_gives_a_row_for_every_protocol_with_its_interval():
    changes = {"train.epochs": 1, "evaluation.images": 20, "attack.steps": 1}
    study = smart.table1_mask_density("ci", [0], changes)
    rows = metrics.measure(study)
    assert len(rows) == sum(len(job.protocols) for job in study.jobs)
    assert list(rows.columns) == COLUMNS
    assert rows["value"].between(0, 100).all()
    assert (rows["ci_low"] <= rows["value"]).all()
    assert (rows["value"] <= rows["ci_high"]).all()
    first = rows.iloc[0]
    low, high = wilson(round(first["value"] * 20 / 100), 20)
    assert (first["ci_low"], first["ci_high"]) == pytest.approx((low, high))


def test_pgd_at_rows_carry_the_trade_off_they_were_trained_with():
    study = smart.fig4_lambda_sweep("ci")
    lams = {job.recipe.method.lam for job in study.jobs if isinstance(job.recipe.method, PgdAt)}
    assert lams == {0.0, 0.2, 0.7, 1.0}
    for job in study.jobs:
        record = {"correct": 1, "n": 2}
        row = metrics.accuracy_row(study, job, job.protocols[0], record)
        if isinstance(job.recipe.method, PgdAt):
            assert row["lam"] == job.recipe.method.lam


def test_what_other_code_measured_is_measured_anew_except_from_records(monkeypatch):
    run = runs.fit(RECIPE)
    evaluate.evaluate(run, Protocol(images=40))
    monkeypatch.setattr(evaluate, "code_fingerprint", lambda: "other")
    calls = []
    original = evaluate.correct
    monkeypatch.setattr(evaluate, "correct", lambda *a: calls.append(1) or original(*a))
    monkeypatch.setenv("SUITE_FROM_RECORDS", "1")
    evaluate.evaluate(run, Protocol(images=40))
    assert not calls
    monkeypatch.delenv("SUITE_FROM_RECORDS")
    assert evaluate.evaluate(run, Protocol(images=40))["code"] == "other"
    assert len(calls) == 1


def test_draws_of_different_purposes_differ():
    seeds = {evaluate.stream(p, s) for p in ("attack", "weight noise") for s in range(3)}
    assert len(seeds) == 6


def test_steps_that_are_not_given_follow_the_papers_or_the_radius():
    assert Protocol(attack="pgd").used_step == pytest.approx(10 / 255 / 7)
    assert Protocol(attack="pgd", steps=20).used_step == pytest.approx(10 / 255 / 7)
    assert Protocol(attack="pgd", norm="l2", eps=0.5, steps=10).used_step == pytest.approx(0.125)
    assert Protocol(attack="pgd", step=0.01).used_step == 0.01
    with pytest.raises(UserError, match="FGSM is an attack in linf"):
        Protocol(attack="fgsm", norm="l2")
