"""Forms and prices: measured on what reaches each layer, or counted as in GDWS, Eq. 3."""

import pytest
import torch
from torch import nn

from lib import deployment
from lib.models import create
from lib.models.depthwise import FORMS
from lib.models.gdws import convert, convertible


@pytest.fixture
def model() -> nn.Module:
    return create("plain", "resnet20", width=4).double().eval()


def taking(monkeypatch, seconds):
    """Let every form, and every network, take two seconds, or as long as is said."""
    timed = dict.fromkeys((*FORMS, "mixed"), 2.0) | seconds
    found = deployment.pd.Series
    monkeypatch.setattr(deployment, "_least", lambda of, *_: found({n: timed[n] for n in of}))


def test_the_fastest_form_is_taken_and_dense_where_nothing_beats_it(model, images, monkeypatch):
    x, original = images.double(), model
    model = convert(original, beta=0.5)
    for best, kind in (("sum", "Summed"), ("dense", "Conv2d"), ("gather", "GeneralizedDepthwise")):
        taking(monkeypatch, {best: 1.0, "mixed": 0.5})
        fast = deployment.fastest(model, x)
        assert type(fast.layer1[0].conv1).__name__ == kind
        torch.testing.assert_close(fast(x), model(x))
        own = deployment.fastest(model, x, original)
        torch.testing.assert_close(own(x), (original if best == "dense" else model)(x))


def test_a_network_that_is_hardly_faster_as_a_whole_stays_dense(model, images, monkeypatch):
    x, original = images.double(), model
    taking(monkeypatch, {"sum": 1.0, "dense": 1.5, "mixed": 1.45})
    timed = []
    fast = deployment.fastest(convert(original, beta=0.5), x, original, whole=timed.append)
    assert fast.state_dict().keys() == original.state_dict().keys() and len(timed) == 2


def test_measuring_leaves_the_network_alone_and_finds_prices(model, images):
    model.train()
    prices = deployment.measured_prices(model, images.double(), rounds=2)
    assert prices.keys() == convertible(model).keys() and model.training
    assert all(price.dense > 0 and min(price.fixed, price.kernel) >= 0 for price in prices.values())
    fast = deployment.fastest(convert(model, beta=5.0, prices=prices), images.double(), rounds=2)
    assert fast(images.double()).shape == (8, 10)
