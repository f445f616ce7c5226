"""GDWS conversions as recipes: the same after any kill, loaded from their own folder alone."""

from dataclasses import replace

import pytest
import torch

from lib import anatomy, evaluate, networks, runs, speed, store
from lib.conversions import CONVERSIONS, Compact, Gdws, Weighed
from lib.cost import mac_prices
from lib.errors import UserError
from lib.methods import Float, PgdAt
from lib.models import freeze
from lib.models.depthwise import converted
from lib.models.gdws import Price, allocate, convert, convertible, error_weights, spectrum
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.sparsity import Momentum
from tests.test_runs import same
from tests.tiny import digits

DENSE = digits(PgdAt(0.5), epochs=1, precision="fp32")
ZERO = replace(DENSE.train, epochs=0)
WEIGHED = replace(DENSE, start=DENSE, train=ZERO, convert=Weighed("digits", images=8))
PART = Gdws("digits", beta=0.03)
TUNED = replace(WEIGHED, start=WEIGHED, convert=PART, train=replace(DENSE.train, epochs=2))
NARROW = replace(DENSE, start=replace(DENSE, sparsity=Momentum(0.3, granularity="channel")))
NARROW = replace(NARROW, train=ZERO, convert=Compact())
NOISY = replace(DENSE, method=Float())
OUT = [[f"layer{i}.0.conv1", 1e3, 1.0, 1e-3] for i in (1, 2, 3)]  # of prices


def gdws(start: Recipe = WEIGHED, **part) -> Recipe:
    return replace(WEIGHED, start=start, convert=replace(PART, **part))


KINDS = {
    "layer": gdws(),
    "unweighed": gdws(DENSE, beta=0.5, least=1),
    "network": gdws(scope="network"),
    "prices": gdws(scope="network", prices=OUT, beta=1e-3),
    "empty": gdws(beta=1e3),
    "compact": gdws(NARROW),
    "noisy": gdws(replace(WEIGHED, start=NOISY, convert=replace(WEIGHED.convert, lam=1.0))),
    "points": gdws(beta=0.0, points=20.0),
    "tuned": TUNED,
}
SHELF = KINDS.values()
pytestmark = pytest.mark.usefixtures("results")


@pytest.mark.parametrize("recipe", [WEIGHED, *KINDS.values()], ids=["weighed", *KINDS])
def test_a_conversion_is_a_recipe_and_survives_json(recipe):
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    again = Recipe.from_dict(store.json.loads(store.json.dumps(recipe.to_dict())))
    assert again.key == recipe.key and type(again.convert) is CONVERSIONS[recipe.convert.kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_conversion_needs_its_own_folder_alone(kind, trained, monkeypatch):
    recipe, x = KINDS[kind], torch.rand(4, 1, 8, 8)
    built = runs.build(recipe).eval()
    for start in recipe.ancestors:
        store.remove(runs.folder(start))
    for name in ("convert", "error_weights", "started"):
        monkeypatch.setattr(networks, name, None)
    model = runs.load(recipe).model()
    names = {n: type(m) for n, m in built.named_modules()}
    assert {n: type(m) for n, m in model.named_modules()} == names
    assert {n: layer.g for n, layer in converted(model).items()} == {
        n: layer.g for n, layer in converted(built).items()
    }
    if recipe.train.epochs == 0:
        assert same(model.state_dict(), built.state_dict())
        assert torch.equal(model(x), built(x))
    with pytest.raises(UserError, match="which is not here"):
        runs.build(recipe)
    record = evaluate.evaluate(runs.load(recipe), Protocol(images=20, attack="pgd", eps=0.1))
    assert record["n"] == 20


def test_a_conversion_does_what_its_part_says(trained):
    dense = runs.load(DENSE).model()
    gains = error_weights(dense, evaluate.data.load("digits", "train", 8).float())
    weighed = runs.load(WEIGHED).model()
    for name, gain in gains.items():
        assert torch.equal(weighed.get_submodule(name).gain, gain)
    wanted = {
        "layer": convert(dense, 0.03, alphas=gains),
        "unweighed": convert(dense, 0.5, least=1),
        "network": convert(dense, 0.03, alphas=gains, prices=mac_prices(dense, 1, 8)),
        "prices": convert(dense, 1e-3, alphas=gains, prices={n: Price(*p) for n, *p in OUT}),
    }
    for kind, model in wanted.items():
        assert same(runs.load(KINDS[kind]).model().state_dict(), model.state_dict()), kind
    empty = converted(runs.load(KINDS["empty"]).model()).values()
    assert {(sum(layer.g), bool(layer.depthwise.weight.any())) for layer in empty} == {(1, False)}


def test_noise_is_frozen_once_and_a_weighed_network_computes_what_it_did(trained):
    noisy, x = runs.load(NOISY).model(), torch.rand(4, 1, 8, 8)
    weighed = runs.load(KINDS["noisy"].start).model()
    torch.manual_seed(WEIGHED.seed)
    torch.testing.assert_close(weighed(x), freeze(noisy, 1.0)(x))
    lossless = replace(WEIGHED, start=NOISY, convert=Gdws("digits", lam=1.0))
    torch.testing.assert_close(runs.fit(lossless).model()(x), weighed(x))


def test_sizes_are_those_counted_by_hand(trained):
    dense, found = (anatomy.sizes(runs.load(r)) for r in (DENSE, KINDS["layer"]))
    model, saved, macs = runs.load(DENSE).model(), 0, dense["macs"]
    layers = converted(runs.load(KINDS["layer"]).model())
    prices = mac_prices(model, 1, 8)
    for name, conv in convertible(model).items():
        kernels = sum(layers[name].g)
        saved += conv.weight.numel() - kernels * (9 + conv.out_channels)
        macs += kernels * prices[name].kernel - prices[name].dense
    assert found["params"] == dense["params"] - saved and found["macs"] == macs
    assert found["kernels"] == sum(sum(layer.g) for layer in layers.values())
    assert found["mib"] == 4 * found["params"] / 2**20 and dense["kernels"] == 0
    empty, rest = anatomy.sizes(runs.load(KINDS["empty"])), dense["params"]
    rest -= sum(c.weight.numel() for c in convertible(model).values())
    assert empty["params"] == rest + sum(9 + c.out_channels for c in convertible(model).values())
    assert empty["nonzero"] <= rest and empty["kernels"] == len(prices)


def test_zeros_of_a_sparse_network_stay_zero_and_are_not_counted():
    pruned = replace(DENSE, sparsity=Momentum(0.05))
    lossless = replace(WEIGHED, start=pruned, convert=Gdws("digits"))
    before, after = anatomy.sizes(runs.fit(pruned)), anatomy.sizes(runs.fit(lossless))
    assert after["nonzero"] < 0.6 * after["params"] and before["nonzero"] < after["nonzero"]
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(runs.load(lossless).model()(x), runs.load(pruned).model()(x))


def test_what_prices_make_of_a_network_is_measured_once(trained, monkeypatch):
    run = runs.load(KINDS["layer"])
    found = speed.priced(run, [Protocol(images=20)])
    monkeypatch.setattr(speed, "measured_prices", None)
    assert speed.priced(run, [Protocol(images=20)]) == found
    assert found["layout"]["layers"].keys() == speed.left(run)["layers"].keys()
    (scored,) = found["evaluations"].values()
    assert scored["n"] == 20 and speed.as_wide(run, found["layout"])(torch.rand(1, 3, 32, 32)).ndim


def test_points_choose_the_largest_error_that_costs_no_more(trained):
    model, found = runs.load(WEIGHED).model(), runs.load(KINDS["points"]).model()
    gains = {name: layer.gain for name, layer in convertible(model).items()}
    made = [convert(model, beta, alphas=gains) for beta in networks.BETAS]
    kept = [[layer.g for layer in converted(one).values()] for one in made]
    shown = evaluate.data.load("digits", "val")
    right = [(one(shown.float()).argmax(1) == shown.labels).sum() for one in (*made, model)]
    own = kept.index([layer.g for layer in converted(found).values()])
    last = max(i for i, g in enumerate(kept) if g == kept[own])
    assert right[own] >= right[-1] - 0.2 * len(shown)
    assert last == len(made) - 1 or right[last + 1] < right[-1] - 0.2 * len(shown)
    total = sum(
        float(spectrum(c.weight, c.gain).values.flatten().sort().values[:-n].sum())
        for c, n in zip(convertible(model).values(), map(sum, kept[own]), strict=True)
    )
    assert speed.bound(runs.load(KINDS["points"]), {}) == pytest.approx(total, rel=1e-2)


def test_a_share_of_the_price_is_left_for_the_least_error(trained):
    run, model = runs.load(KINDS["layer"]), runs.load(WEIGHED).model()
    layers = convertible(model)
    prices = {n: Price(9.0 * c.out_channels * c.in_channels, 5, 20) for n, c in layers.items()}
    values = {n: spectrum(c.weight, c.gain).values for n, c in layers.items()}
    beta = speed.bound(run, prices, 0.4)
    left = []
    for error in (0.99 * beta, 1.01 * beta):
        kept = allocate(values, prices, error)
        left.append(sum(5 + 20 * kept[n] if n in kept else p.dense for n, p in prices.items()))
    assert left[1] <= 0.4 * sum(price.dense for price in prices.values()) < left[0]
    longer = replace(DENSE.train, epochs=2)
    found = speed.priced(run, [Protocol(images=20)], share=0.5, train=longer)
    assert found["layout"] != speed.priced(run, [Protocol(images=20)])["layout"]
    untrained = speed.priced(run, [Protocol(images=20)], share=0.5)  # at the prices measured once
    assert found["layout"]["layers"] == untrained["layout"]["layers"]
    assert found["evaluations"] != untrained["evaluations"]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"scope": "network", "least": 1}, "least with 'layer'"),
        ({"prices": OUT}, "scope 'network'"),
        ({"scope": "network", "prices": [["conv1", 1.0, 2.0]]}, "three numbers"),
        ({"beta": -1.0}, "at least 0"),
        ({"points": 1.0}, "not both"),
        ({"dataset": "cifar10"}, "name the same"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(part, words):
    with pytest.raises(UserError, match=words) as caught:
        runs.check(gdws(**part))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="5000 images were asked for"):
        runs.check(replace(WEIGHED, convert=Weighed("digits", images=5000)))
