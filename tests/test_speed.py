"""Networks are timed with the channels and kernels that they have, at another width."""

import pandas as pd
import pytest
import torch
from torch import nn

from lib import speed
from lib.models import channels, compact, create, freeze
from lib.models.depthwise import converted, equivalents
from lib.models.gdws import convert
from lib.studies import gdws


def plain(backbone="preact_resnet18", width=8):
    return freeze(create("plain", backbone, in_channels=3, width=width), 1.0).eval()


def emptied(model, every):
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and getattr(layer, "groups", 1) == 1:
                layer.weight[:, 3::every] = 0
    return compact(model)


@pytest.mark.parametrize("width", [8, 24])
def test_a_linear_layer_reads_whole_channels_of_a_wide_network(width):
    whole = plain("vgg16_hydra", width)
    made = emptied(plain("vgg16_hydra", width), 7)
    seen = {"layers": dict(sorted(speed.layout(made, whole)["layers"].items()))}  # as in a record
    wide = speed.widened(seen, whole, plain("vgg16_hydra", 64))
    assert wide(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("backbone", ["preact_resnet18", "vgg16_bn", "resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("make", ["whole", "compact", "gdws", "both"])
def test_what_was_made_of_a_network_is_made_of_one_of_the_same_width(backbone, make):
    model = plain(backbone)
    if make in ("compact", "both"):
        model = emptied(model, 4)
    if make in ("gdws", "both"):
        model = convert(model, beta=0.05)
    seen = speed.layout(model, plain(backbone))
    again = speed.widened(seen, plain(backbone), plain(backbone))
    assert speed.layout(again, plain(backbone)) == seen
    x = torch.rand(2, 3, 32, 32)
    assert again(x).shape == model(x).shape and again(x).isfinite().all()


def test_shares_and_kernels_stay_at_another_width():
    whole, wide = plain(), plain(width=32)
    narrow = emptied(plain(), 2)
    made = speed.widened(speed.layout(narrow, whole), whole, wide)
    for name, (left, of) in channels(narrow).items():
        wider = channels(made)[name]
        assert wider == ((left, of) if of == 3 else (4 * left, 4 * of))
    small = convert(plain(), beta=0.02)
    wider = converted(speed.widened(speed.layout(small, whole), whole, plain(width=32)))
    for name, layer in converted(small).items():
        times = 1 if layer.in_channels == 3 else 4
        assert wider[name].g == [g for g in layer.g for _ in range(times)]


@pytest.mark.parametrize("form", ["dense", "sum"])
def test_a_network_without_a_gdws_layer_is_timed_as_what_it_was_made_of(monkeypatch, form):
    def timed(calls, *rest, **how):
        assert (calls["preact_resnet18 GDWS"].func.__wrapped__ is base) == (form == "dense")
        raise TimeoutError

    study, base, made = gdws.table1_networks("ci", [0]), plain(), convert(plain(), beta=0.1)
    fitted = {job.recipe.key: made if job.label == "GDWS" else base for job in study.jobs}
    monkeypatch.setattr(speed, "as_wide", lambda network, seen=None: network)
    monkeypatch.setattr(speed, "fastest", lambda network, *rest: equivalents(network, form))
    monkeypatch.setattr(speed.timing, "interleaved", timed)
    with pytest.raises(TimeoutError):
        speed.rows(study, study.jobs, fitted, 1)


def test_no_speed_is_judged_by_a_network_whose_layers_all_stayed_dense():
    rows = pd.DataFrame({"backbone": ["a", "b"], "value": [0, 3], "method": "GDWS"})
    rows["metric"] = "kept_1"
    assert "stay dense: a" in speed.judged(rows, ["GDWS"], 1.5)
    assert speed.judged(rows[1:], ["GDWS"], 1.5) == speed.judged(rows, ["dense"], 1.5) == 1.5
