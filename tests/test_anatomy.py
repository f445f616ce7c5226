"""What is read from inside networks is what is inside, and is read once."""

from types import SimpleNamespace

import pytest
import torch

from lib import anatomy, cost, networks, paths, runs, store
from lib.models import channels, create, freeze
from lib.rows import frame
from lib.sparsity import Momentum
from lib.studies import float_, smart
from lib.trainers.pruners.momentum import SparseMomentum

pytestmark = pytest.mark.usefixtures("results")


class Run(runs.Run):
    """A run whose network was not trained; counts how often it is asked for."""

    def __init__(self, model, key="0" * 16):
        vars(self).update(recipe=SimpleNamespace(key=key), folder=paths.runs() / key)
        vars(self).update(network=model, asked=0)
        store.write_json(self.folder / store.MANIFEST, {"weights.safetensors": "1"})

    def model(self, which="last"):
        vars(self)["asked"] += 1
        return self.network


def test_what_is_left_is_what_the_masks_leave():
    model = create("pgd_at", "resnet18", in_channels=1, width=4, prunable=True)
    model.layer1[0].conv1.mask[0] = False  # one of four output channels
    model.layer2[0].conv2.mask[:, 2:7] = False  # five of eight input channels
    model.layer2[0].conv2.mask[:4, 0] = False
    layers = anatomy.layer_remains(model)["layers"]
    assert layers["conv1"] == {"kept": 36, "weights": 36, "live": 1, "inputs": 1}
    assert layers["layer1.0.conv1"] == {"kept": 108, "weights": 144, "live": 4, "inputs": 4}
    assert layers["layer2.0.conv2"] == {"kept": 180, "weights": 576, "live": 3, "inputs": 8}
    assert len(layers) == 20


def test_compression_counts_the_classifier_on_both_sides(monkeypatch):
    model = create("pgd_at", "vgg16", in_channels=1, width=4, prunable=True)
    monkeypatch.setattr(networks, "fresh", lambda recipe: model)
    assert anatomy.compression(Run(model)) == 1
    model.layer5[2].conv.mask[:] = False
    weights = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    found = anatomy.compression(Run(model, "1" * 16))
    assert found == weights / (weights - model.layer5[2].conv.weight.numel())


def test_a_kept_weight_may_be_zero_and_without_masks_a_zero_is_none():
    masked = create("pgd_at", "resnet18", in_channels=1, width=4, prunable=True)
    plain = create("pgd_at", "resnet18", in_channels=1, width=4)
    kept = []
    for model in (masked, plain):
        with torch.no_grad():
            model.layer1[0].conv1.weight[0, 0] = 0
        kept.append(anatomy.layer_remains(model)["layers"]["layer1.0.conv1"]["kept"])
    assert kept == [144, 135]


def test_a_slim_network_is_left_with_the_masks_of_its_leading_channels():
    model = create("float_slim", "resnet18", in_channels=1, width=4, prunable=True)
    SparseMomentum(model, Momentum(0.3), epochs=1).begin()
    model.layer2[1].conv1.mask[:4, 1] = False  # live at full width only
    model.layer2[1].conv1.mask[4, 1] = True
    layers = anatomy.layer_remains(model, 0.5)["layers"]
    narrow = freeze(model, 0.0, slim=0.5)
    assert {name: (n["live"], n["kept"]) for name, n in layers.items()} == {
        name: (live, int((narrow.get_submodule(name).weight != 0).sum()))
        for name, (live, _) in channels(narrow).items()
    }
    full = anatomy.layer_remains(model)["layers"]
    for name, n in layers.items():
        assert (n["weights"], n["inputs"]) == (full[name]["weights"], full[name]["inputs"])
    assert layers["layer2.1.conv1"]["live"] < full["layer2.1.conv1"]["live"]


def test_alphas_are_those_of_the_noisy_layers():
    model = create("smart", "resnet18", in_channels=1, width=4)
    with torch.no_grad():
        model.conv1.alpha.fill_(-0.5)
    layers = anatomy.layer_alphas(model)["layers"]
    assert layers["conv1"] == 0.5 and set(layers.values()) == {0.25, 0.5}
    assert len(layers) == 20


def test_what_was_seen_is_kept_beside_the_run():
    model = create("pgd_at", "resnet18", in_channels=1, width=4, prunable=True)
    run, other = Run(model), Run(model, "1" * 16)
    expected = anatomy.layer_remains(model)["layers"]

    def seen(run):
        return anatomy.remaining(run).to_dict("index") == expected

    assert seen(run) and seen(run) and run.asked == 1
    (kept,) = (run.folder / "evaluations").iterdir()
    kept.write_text(kept.read_text().replace("36", "35"))  # a damaged record is not believed
    assert seen(run) and run.asked == 2
    store.write_bytes(other.folder / "evaluations" / kept.name, kept.read_bytes())
    assert seen(other) and other.asked == 1  # nor is that of another run


def test_rows_carry_the_label_the_seed_and_no_images():
    study = smart.fig2_layer_sensitivity("ci", seeds=(3,))
    model = create("pgd_at", "resnet18", in_channels=1, width=4, prunable=True)
    runs = {key: Run(model, key) for key in study.recipes}
    found = frame(anatomy.shares(study, runs, "density"))
    assert set(found["method"]) == {"d = 0.2", "d = 0.15", "d = 0.1"}
    assert set(found["seed"]) == {3} and found["n"].isna().all()
    assert (found["value"] == 100).all()


def test_live_channels_are_those_of_the_width_that_is_scored():
    study = float_.table1_variants("ci", seeds=(3,))
    fitted = {}
    for key, recipe in study.recipes.items():
        model = runs.build(recipe)
        if recipe.sparsity:
            SparseMomentum(model, recipe.sparsity, 1).begin()
        fitted[key] = Run(model, key)
    rows = frame(anatomy.shares(study, fitted, "channels"))
    found = rows.set_index(["method", "detail"])["value"]
    assert (found["FLOAT"] == 100).all() and found["FLOATS-c", "conv1"] == 100
    assert found["FLOATS slim, SF 0.5", "layer1.0.conv1"] == 50
    pruned = fitted[study.find("FLOATS-c").recipe.key].network
    live = {name: 100 * kept / inputs for name, (kept, inputs) in channels(pruned).items()}
    assert found["FLOATS-c"].to_dict() == pytest.approx(live)


def test_operations_count_noise_on_the_adversarial_path_only():
    counts = cost.cost(create("float", "resnet18", in_channels=1, width=4), 1, 8)
    rows = {(r["metric"], r.get("lam")): r["value"] for r in anatomy.counted({}, counts)}
    gap = rows["add_equivalents", 1.0] - rows["add_equivalents", 0.0]
    assert gap == pytest.approx(counts["noise_adds"])
    assert rows["add_equivalents", 0.0] == pytest.approx(counts["macs"] * (0.2 + 0.03) / 0.03)
