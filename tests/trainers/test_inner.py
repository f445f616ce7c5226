"""ADMM of the channels inside of blocks: what is drawn, what stays, and the published sizes."""

from dataclasses import replace

import pytest
import torch

from lib import runs
from lib.conversions import Compact
from lib.errors import UserError
from lib.methods import PgdAt
from lib.models import compact, create, freeze
from lib.models.compaction import channels
from lib.recipe import Attack, Train
from lib.sparsity import Admm, AdmmInner, FixedAll
from lib.trainers import PRUNERS
from tests.tiny import digits

DENSE = digits(PgdAt(), "vgg16_hydra", attack=Attack(0.1, 1))


def pruned(backbone, density, width=None, in_channels=1):
    model = create("plain", backbone, in_channels=in_channels, width=width, prunable=True)
    made = PRUNERS["admm_inner"](model, AdmmInner(density), 1, 0)
    made.begin()
    return model, made


@pytest.mark.parametrize(("backbone", "layers"), [("resnet20", 9), ("vgg16", 12), ("wrn28_4", 12)])
def test_every_reader_inside_of_a_block_keeps_its_largest_channels(backbone, layers):
    model, made = pruned(backbone, 0.5, 4)
    assert len(made.layers) == layers
    sizes = [layer.weight.detach().square().sum((0, 2, 3)) for layer in made.layers]
    apart = [layer.weight.detach() * 0 for layer in made.layers]
    for layer, z, size, move in zip(made.layers, made.z, sizes, apart, strict=True):
        least = size.sort(descending=True).values[round(0.5 * len(size)) - 1]
        assert torch.equal(z, layer.weight * (size >= least).view(1, -1, 1, 1))
        move += layer.weight - z
    pull = 0.5 * made.part.rho * sum(move.square().sum() for move in apart)
    torch.testing.assert_close(made.penalty(), pull)
    made.after_epoch(0, lambda p: torch.zeros_like(p))
    assert {name for name, (live, total) in channels(model).items() if live < total} == {
        name for name, layer in model.named_modules() if layer in made.layers
    }
    masks = [m.mask for m in model.modules() if getattr(m, "mask", None) is not None]
    assert made.row() == {"active_weights": sum(int(mask.sum()) for mask in masks)}


@pytest.mark.parametrize(
    ("backbone", "sizes"), [("resnet18", (32.1, 21.7, 11.2)), ("vgg16_bn", (31.6, 14.0, 3.5))]
)
def test_networks_without_their_channels_have_the_published_sizes(backbone, sizes):
    for share, size in zip((0.25, 0.5, 0.75), sizes, strict=True):
        model, made = pruned(backbone, 1 - share, in_channels=3)
        made.after_epoch(0, lambda p: torch.zeros_like(p))
        found = 4 * sum(p.numel() for p in compact(freeze(model)).parameters()) / 2**20
        assert found == pytest.approx(size, abs=0.07)  # of VGG-16 14.06, or 14.04 without vectors


def test_three_stages_and_compaction_end_in_a_narrow_network(results):
    stage = replace(DENSE, sparsity=AdmmInner(0.5, every=1), start=DENSE)
    tuned = replace(DENSE, sparsity=FixedAll(), start=stage)
    narrow = replace(DENSE, start=tuned, convert=Compact(), train=Train(0, batch=16))
    wide, small = runs.fit(tuned).model(), runs.fit(narrow).model()
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(small(x), wide(x), rtol=1e-4, atol=1e-4)
    convs = [layer for layer in small.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [c.in_channels for c in convs[1:]] == [c.out_channels for c in convs[:-1]]
    assert [c.out_channels for c in convs] == [2, 2, 4, 4, 8, 8, 8, *[16] * 6]
    assert small.hidden1.in_features == 4 * 16 and small.hidden2.in_features == 16


def test_it_prunes_channels_alone():
    assert isinstance(AdmmInner(), Admm)  # which is verified to its end
    for fields in ({"granularity": "weight"}, {"ratios": "magnitude"}):
        with pytest.raises(UserError, match="admm_inner"):
            AdmmInner(**fields)
