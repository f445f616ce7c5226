"""Attacks that are made on one function of a network and scored by another."""

import copy
from dataclasses import replace

import pytest
import torch

from lib import crossing, data, evaluate, runs, scoring
from lib.attacks import pgd
from lib.crossing import View
from lib.errors import UserError
from lib.methods import Float, Oat, Smart
from lib.protocol import Protocol
from lib.recipe import Attack
from lib.studies import audit
from tests.tiny import digits

PGD = Protocol(attack="pgd", eps=0.2, steps=2, images=150)  # two batches of images
SMART, OAT = digits(Smart(pattern="DSS")), digits(Oat(lambdas=(0.0, 1.0)))
SHELF = [SMART, OAT]
VIEWS = {"0": View(0.0), "1": View(1.0)}


def bits(run, makers, judges, protocol=PGD):
    """Return which images are right, by the names of maker and judge."""
    job = replace(audit.cross_path("ci").jobs[0], recipe=run.recipe)
    rows = crossing.measured(audit.cross_path("ci"), job, run, protocol, makers, judges)
    assert {row["metric"] for row in rows} == {"crossed_acc"}
    found = {row["detail"]: evaluate.unpack(row["bits"], row["n"]) for row in rows}
    for row in rows:
        assert row["value"] == pytest.approx(100 * found[row["detail"]].float().mean().item())
        assert row["lam"] == judges[row["detail"].split(" > ")[1]].lam
    return found


@pytest.mark.parametrize("recipe", SHELF, ids=["with noise", "without"])
def test_what_makes_and_judges_alike_finds_what_an_evaluation_finds(recipe, trained):
    run = runs.load(recipe)
    found = bits(run, {name: (view,) for name, view in VIEWS.items()}, VIEWS)
    assert list(found) == ["0 > 0", "0 > 1", "1 > 0", "1 > 1"]
    for name, view in VIEWS.items():
        record = evaluate.evaluate(run, replace(PGD, lam=view.lam))
        expected = evaluate.unpack(record["bits"], record["n"])
        assert torch.equal(found[f"{name} > {name}"], expected)


def test_images_made_on_one_path_are_scored_by_the_other(trained):
    run = runs.load(OAT)
    model, images = run.model(), data.load("digits", "test", 150)
    x, y = images.float(), images.labels
    size, expected = scoring.batch_size(model, images, PGD), []
    for start in range(0, 150, size):
        part = slice(start, start + size)
        seed = scoring.stream("attack", 0, start // size)
        adv = pgd(
            lambda x: (model(x, lam=0.0) + model(x, lam=1.0)) / 2,
            *(x[part], y[part], PGD.eps, PGD.used_step, PGD.steps),
            generator=torch.Generator().manual_seed(seed),
        )
        with torch.no_grad():
            expected.append(model(adv, lam=1.0).argmax(1) == y[part])
    (found,) = bits(run, {"both": tuple(VIEWS.values())}, {"1": VIEWS["1"]}).values()
    assert (found[0] != torch.cat(expected)).sum() <= 1  # rounding of prepared networks
    assert 0 < found.sum() < 150


def test_a_quiet_network_is_one_whose_noise_scales_are_zero(trained):
    run = runs.load(SMART)
    model, x = run.model(), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    f = crossing.function(model, SMART, PGD, View(1.0, quiet=True))
    with torch.no_grad():
        for layer in model.noisy:
            layer.alpha.zero_()
        torch.testing.assert_close(f(x), model(x, lam=1.0))
    (found,) = bits(run, {"0": (VIEWS["0"],)}, {"quiet": View(1.0, quiet=True)}).values()
    assert len(found) == 1  # draw


def test_judges_of_an_attack_meet_the_same_draws(trained):
    judges = {"1": View(1.0), "again": View(1.0), "0": View(0.0)}
    found = bits(runs.load(SMART), {"0": (View(0.0),)}, judges)
    assert torch.equal(found["0 > 1"], found["0 > again"]) and found["0 > 1"].shape == (10, 150)
    assert found["0 > 0"].shape == (1, 150)


def test_new_statistics_are_those_of_attacked_training_images():
    weak = Attack(eps=1e-7, steps=1)
    recipe = digits(Float(noise=False), attack=weak, images=40, batch=16)  # two whole batches
    model = runs.build(recipe).eval()
    model.bn1.adv.running_mean.fill_(7.0)
    before = copy.deepcopy(model.state_dict())
    after = crossing.renewed(model, recipe, 1.0).state_dict()
    shown, epoch = data.load("digits", "train", 40), crossing.TURNS - 1
    passed = [model.conv1(x) for x, y in data.batches(shown, 16, seed=0, epoch=epoch)]
    means, spreads = (
        torch.stack([of(p) for p in passed]).mean(0)
        for of in (lambda p: p.mean((0, 2, 3)), lambda p: p.var((0, 2, 3)))
    )
    torch.testing.assert_close(after["bn1.adv.running_mean"], means, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after["bn1.adv.running_var"], spreads, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert changed and all(".adv." in name and "weight" not in name for name in changed)


def test_it_is_measured_once_and_anew_by_other_code(trained, monkeypatch):
    run, seen = runs.load(OAT), []
    monkeypatch.setattr(crossing, "function", lambda m, r, p, v: seen.append(v) or m)
    asked = {"1": (VIEWS["1"],)}, {"1": VIEWS["1"]}
    first = bits(run, *asked)
    assert seen == [View(1.0)] and torch.equal(bits(run, *asked)["1 > 1"], first["1 > 1"])
    assert len(seen) == 1
    bits(run, *asked, replace(PGD, lam=0.5))  # whose trade-off does not count
    assert len(seen) == 1
    bits(run, *asked, replace(PGD, steps=1))
    assert len(seen) == 2
    monkeypatch.setattr(crossing.source, "used", lambda *roots: "other code")
    bits(run, *asked)
    assert len(seen) == 3


def test_images_that_nothing_is_made_of_are_clean(trained):
    run = runs.load(SMART)
    found = bits(run, {"clean": (), "1": (VIEWS["1"],)}, VIEWS)
    for name, view in VIEWS.items():
        clean = evaluate.evaluate(run, Protocol(lam=view.lam, images=150))
        assert torch.equal(found[f"clean > {name}"], evaluate.unpack(clean["bits"], 150))


def test_autoattack_is_refused(trained):
    with pytest.raises(UserError, match="cross an attack by PGD"):
        bits(runs.load(OAT), {"1": (VIEWS["1"],)}, VIEWS, Protocol(attack="autoattack"))
