"""What is read from inside networks is what is inside, and is read once."""

import pytest
import torch

from lib import anatomy, cost
from lib.errors import UserError
from lib.models import create
from lib.papers import smart
from lib.rows import frame


class Run:
    """A run whose network was not trained; counts how often it is asked for."""

    def __init__(self, model, folder):
        self.network, self.folder, self.asked = model, folder, 0

    def model(self, which="last"):
        self.asked += 1
        return self.network


def test_densities_are_those_of_the_masks():
    model = create("pgd_at", "resnet18", in_channels=1, width=4, prunable=True)
    model.layer1[0].conv1.mask[0] = False  # one of four output channels
    layers = anatomy.layer_densities(model)["layers"]
    assert layers["layer1.0.conv1"] == {"kept": 108, "weights": 144}
    assert layers["conv1"] == {"kept": 36, "weights": 36}
    assert len(layers) == 20


def test_alphas_are_those_of_the_noisy_layers():
    model = create("smart", "resnet18", in_channels=1, width=4)
    with torch.no_grad():
        model.conv1.alpha.fill_(-0.5)
    layers = anatomy.layer_alphas(model)["layers"]
    assert layers["conv1"] == 0.5 and set(layers.values()) == {0.25, 0.5}
    assert len(layers) == 20


@pytest.mark.parametrize(("block", "name"), [(1, "layer1.0"), (4, "layer2.1"), (8, "layer4.1")])
def test_blocks_are_counted_over_the_whole_network(block, name):
    model = create("smart", "resnet18", in_channels=1, width=4)
    found = anatomy.second_norms(model, block)
    assert found["layer"] == f"{name}.bn2"


def test_statistics_are_those_of_both_norms():
    model = create("smart", "resnet18", in_channels=1, width=4)
    norm = model.layer2[1].bn2
    norm.running_mean.copy_(torch.arange(8.0))
    norm.adv.running_var.fill_(3.0)
    paths = anatomy.second_norms(model, 4)["paths"]
    assert paths["clean"]["running_mean"] == [float(i) for i in range(8)]
    assert paths["adversarial"]["running_var"] == [3.0] * 8


def test_a_block_that_is_not_there_or_has_one_norm_is_refused():
    with pytest.raises(UserError, match="8 blocks"):
        anatomy.second_norms(create("smart", "resnet18", in_channels=1, width=4), 9)
    with pytest.raises(UserError, match="batch norm for each path"):
        anatomy.second_norms(create("pgd_at", "resnet18", in_channels=1, width=4), 1)


def test_what_was_seen_is_kept_beside_the_run(tmp_path):
    model = create("pgd_at", "resnet18", in_channels=1, width=4, prunable=True)
    run = Run(model, tmp_path)
    first = anatomy.kept_weights(run)
    assert anatomy.kept_weights(run).equals(first) and run.asked == 1
    (kept,) = (tmp_path / "evaluations").iterdir()
    kept.write_text(kept.read_text().replace("36", "35"))  # a damaged record is not believed
    assert anatomy.kept_weights(run).equals(first) and run.asked == 2


def test_rows_carry_the_label_the_seed_and_no_images(tmp_path):
    study = smart.fig2_layer_sensitivity("ci", seeds=(3,))
    model = create("pgd_at", "resnet18", in_channels=1, width=4, prunable=True)
    runs = {key: Run(model, tmp_path / key) for key in study.recipes}
    found = frame(anatomy.densities(study, runs))
    assert set(found["method"]) == {"d = 0.2", "d = 0.15", "d = 0.1"}
    assert set(found["seed"]) == {3} and found["n"].isna().all()
    assert (found["value"] == 100).all()


def test_costs_of_a_study_stand_beside_those_of_the_plain_network():
    found = frame(anatomy.trained_costs(smart.fig1_pareto("ci", seeds=(0, 1))))
    assert list(dict.fromkeys(found["method"])) == ["plain", "PGD-AT", "OAT", "FLOAT", "SMART"]
    counts = found.pivot_table("value", index="method", columns="metric")
    assert counts.loc["PGD-AT"].equals(counts.loc["plain"])
    assert not found.duplicated(["method", "metric", "lam"]).any()


def test_operations_count_noise_on_the_adversarial_path_only():
    model = create("float", "resnet18", in_channels=1, width=4)
    counts = cost.cost(model, 1, 8)
    rows = {(r["metric"], r.get("lam")): r["value"] for r in anatomy.counted({}, counts)}
    gap = rows["add_equivalents", 1.0] - rows["add_equivalents", 0.0]
    assert gap == pytest.approx(counts["noise_adds"])
    assert rows["add_equivalents", 0.0] == pytest.approx(counts["macs"] * (0.2 + 0.03) / 0.03)
