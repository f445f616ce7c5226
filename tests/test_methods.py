"""Methods answer for what they do: the cost of a step, what is refused, what the network is of."""

from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from lib import cost, evaluate, paths, runs, study
from lib.batch import effort
from lib.errors import UserError
from lib.method import Method
from lib.methods import METHODS, Float, FloatSlim, Oat, OatSlim, PgdAt, Plain, Pni, Smart
from lib.plots import style
from lib.recipe import Recipe
from lib.trainers import Context, objective
from lib.trainers.objectives import OBJECTIVES


@pytest.mark.parametrize(
    "method",
    [*(m() for m in METHODS.values()), PgdAt(0.5), PgdAt(0.0), PgdAt(loop="released"),
     Oat((0.0, 1.0)), Float(loop="released"), FloatSlim(slims=(0.25, 1.0))],
    ids=str,
)  # fmt: skip
def test_a_step_takes_the_passes_that_its_objective_takes(method):
    images = {"attacked": 0.0, "passed": 0.0}

    def model(x, slim=1.0, **options):
        images["passed"] += slim**2 * len(x)
        return x.flatten(1) + slim + torch.zeros(10, requires_grad=True)

    def attack(f, x, y, loss=None):
        width = float(f(x)[0, 0].detach())
        images["passed"] -= width**2 * len(x)
        images["attacked"] += width**2 * len(x)
        return x

    batch = 12
    x, y = torch.zeros(batch, 1), torch.zeros(batch, dtype=torch.long)
    objective(method)(model, x, y, Context(attack, torch.Generator(), epoch=method.warm_up))
    for steps in (0, 7):
        counted = (method.climb * steps * images["attacked"] + 3 * images["passed"]) / batch
        assert method.passes(steps) == pytest.approx(counted)


def test_passes_of_the_papers_methods_by_hand():
    # FLOAT's algorithm: attack half a batch, a loss on either half
    assert Float().passes(7) == Smart().passes(7) == 7 * (1 + 1) / 2 + 3 / 2 + 3 / 2
    assert PgdAt(0.5).passes(10) == 26
    assert Oat().passes(7) == 0.75 * 7 * 2 + 3 + 0.75 * 3
    assert Plain().passes(7) == 3


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_says_how_it_is_called_and_shown(method):
    assert METHODS[method.kind] is method
    assert method.label and method.conditional in (True, False)
    assert set(method.training) <= set(method.__dataclass_fields__)


def test_no_two_methods_share_a_label_or_a_colour():
    assert len({m.label for m in METHODS.values()}) == len(METHODS)
    colours = [m.colour for m in METHODS.values() if m.colour]
    assert len(set(colours)) == len(colours)


def test_noise_scales_decay_where_the_method_says_so():
    assert Float().decays("layer1.0.conv1.alpha") and not Pni().decays("layer1.0.conv1.alpha")
    assert not Smart(alpha_decay=False).decays("conv1.alpha")
    assert all(m().decays("conv1.weight") for m in METHODS.values())


def test_only_lambdas_with_a_code_are_taken():
    for method in (Oat(), OatSlim()):
        method.check_lam(0.2 + 1e-9)
        with pytest.raises(UserError, match=r"no code for lam 0\.5; it is trained for 0, 0\.2"):
            method.check_lam(0.5)
    for method in (Oat(encoding="none"), Float(), Pni()):
        method.check_lam(0.5)


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        (PgdAt, {"lam": 1.2}, "lam is 1.2 but must be between 0 and 1"),
        (PgdAt, {"lam": float("nan")}, "between 0 and 1"),
        (Smart, {"density": 0.8, "overlap": 0.5}, r"between 0\.6 and 0\.8"),
        (Oat, {"lambdas": (0.2, 1.0)}, "must hold 0"),
        (Oat, {"lambdas": ()}, "must hold 0"),
        (Oat, {"lambdas": (0.0, 0.0)}, "no value twice"),
        (Oat, {"lambdas": (0.0, 1.5)}, "lambdas is 1.5"),
        (Oat, {"lambdas": (0.0, 0.2, 1.0), "code_dim": 2}, "code_dim is 2 but must be at least 3"),
        (Float, {"granularity": "filter"}, "granularity"),
        *(
            (slim, {"slims": slims}, words)
            for slim in (FloatSlim, OatSlim)
            for slims, words in (
                ((0.5,), "must hold 1 and no value twice"),
                ((1.0, 0.5, 0.5), "must hold 1 and no value twice"),
                ((0.0, 1.0), "method.slims is 0"),
                ((1.0, 2.0), "method.slims is 2"),
            )
        ),
    ],
)
def test_impossible_methods_are_refused(method, options, words):
    with pytest.raises(UserError, match=words):
        method(**options)


@dataclass(frozen=True)
class Pairing(Method):
    """Adversarial logit pairing (Kannan et al. 2018), as a paper would add it: class, objective."""

    kind = "pairing"
    label = "ALP"
    conditional = False
    training = ("beta",)

    beta: float = 0.5

    @property
    def shares(self):
        return 1.0, 1.0


def pairing(method, model, x, y, context):
    """The attack climbs the distance of the logits from those of the clean images."""
    logits = model(x)

    def distance(adversarial, y):
        return (adversarial - logits.detach()).square().sum(1)

    attacked = model(context.attack(model, x, y, loss=distance))
    return F.cross_entropy(attacked, y) + method.beta * F.mse_loss(attacked, logits)


@pytest.fixture
def added(monkeypatch):
    """What a new method that needs no layers consists of."""
    monkeypatch.setitem(METHODS, "pairing", Pairing)
    monkeypatch.setitem(OBJECTIVES, "pairing", pairing)


def test_a_method_is_added_by_its_class_and_its_objective(added, monkeypatch, tmp_path):
    builder = study.Builder("smart/fig1_pareto", "ci", (0,), {"method.beta": 3.0})
    setting, seed = next(builder.settings())
    recipe = builder.recipe(setting, seed, Pairing())
    builder.add("ALP", recipe, (0.0, 1.0), [{"attack": "pgd", "steps": 2}])
    (job,) = builder.study().jobs
    assert Recipe.from_dict(job.recipe.to_dict()) == recipe and recipe.method == Pairing(3.0)
    assert [p.lam for p in job.protocols] == [0.0, 0.0]  # a network without lam is scored once
    assert recipe.method.passes(recipe.attack.steps) == 2 * recipe.attack.steps + 6
    work = (recipe, True, job.protocols)
    assert effort.seconds(*work) > 0 < effort.memory(*work)
    assert cost.report("pairing", "resnet18", 4)["params"] > 0
    label = style.method("ALP, beta 3")
    assert style.faces([label, "PGD-AT"])[label].colour not in style.COLOURS.values()

    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    run = runs.fit(recipe)
    assert len(run.history) == recipe.train.epochs and run.history["loss"].notna().all()
    clean, robust = (evaluate.evaluate(run, protocol) for protocol in job.protocols)
    assert 0 <= robust["correct"] <= clean["correct"] <= clean["n"]


def test_a_method_without_an_objective_or_a_cost_is_an_error(monkeypatch):
    monkeypatch.setitem(METHODS, "pairing", Pairing)
    with pytest.raises(UserError, match="Unknown objective 'pairing'"):
        objective(Pairing())
    with pytest.raises(NotImplementedError):
        Method().passes(7)
