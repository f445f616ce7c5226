"""What attacked networks make of sample images: exactly the attack and the network, kept once."""

import pytest
import torch

from lib import data, runs
from lib.attacks import pgd
from lib.methods import Float, PgdAt
from lib.protocol import Protocol
from lib.samples import Samples
from lib.scoring import stream
from tests.tiny import digits

SHELF = [digits(PgdAt()), digits(Float())]


def test_the_attack_is_pgd_on_the_first_images_of_different_classes(trained):
    first, model = data.load("digits", "test", limit=32), runs.fit(SHELF[0]).model()
    places = [first.labels.tolist().index(n) for n in dict.fromkeys(first.labels.tolist())][:4]
    x, y, p = first.float()[places], first.labels[places], Protocol(attack="pgd", eps=0.1)
    draw = torch.Generator().manual_seed(stream("samples", 0))
    wanted = pgd(model, x, y, p.eps, p.used_step, 7, generator=draw)
    found, odds = Samples.of("digits").attacked(model, p)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(odds, model(wanted).softmax(1).detach())


@pytest.mark.parametrize("recipe", SHELF, ids=["plain", "noisy"])
def test_what_is_seen_is_kept_and_moves_stay_within_the_radii(trained, recipe, monkeypatch):
    samples, run, lam = Samples.of("digits"), runs.fit(recipe), float(recipe.method.conditional)
    protocols = [Protocol(lam), *(Protocol(lam, "pgd", eps=eps, steps=3) for eps in (0.1, 0.5))]
    seen = samples.seen(run, protocols)
    assert abs(samples.moved(seen)).max((1, 2, 3, 4)).tolist() == [0, 26, 127]  # of 127.5
    assert torch.tensor(seen["guesses"]).shape == (3, 4, 2)
    monkeypatch.setattr(Samples, "attacked", None)  # asked a second time, nothing is attacked
    assert samples.seen(run, protocols) == seen
