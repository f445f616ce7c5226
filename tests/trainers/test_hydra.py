"""HYDRA against its released layers written as a function of their scores, and its three stages."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib import paths, runs, store
from lib.methods import Trades
from lib.models import create
from lib.recipe import Attack, Train
from lib.sparsity import FixedAll, Hydra, HydraStill
from lib.trainers import PRUNERS
from lib.trainers.pruners.hydra import kept
from tests.test_runs import unfinished
from tests.tiny import digits

DENSE = digits(Trades(), "vgg16", attack=Attack(0.1, 1, 0.05), lr=0.05, precision="fp32")
PRUNED = replace(DENSE, sparsity=Hydra(0.3), start=DENSE)
TUNED = replace(DENSE, sparsity=FixedAll(), start=PRUNED)
CHAIN = {"dense": DENSE, "pruned": PRUNED, "tuned": TUNED}


class Subnet(torch.autograd.Function):
    """As released: of the scores' sizes ones for the largest, and a gradient that passes."""

    @staticmethod
    def forward(ctx, sizes, k):
        out = sizes.clone()
        order = sizes.flatten().sort().indices
        zeros = int((1 - k) * sizes.numel())
        out.view(-1)[order[:zeros]] = 0
        out.view(-1)[order[zeros:]] = 1
        return out

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def networks(backbone="resnet20"):
    """A prunable network and the same one without masks."""
    masked = create("plain", backbone, in_channels=1, width=4, prunable=True)
    plain = create("plain", backbone, in_channels=1, width=4)
    plain.load_state_dict({n: t for n, t in masked.state_dict().items() if n[-4:] != "mask"})
    return masked, plain


def pruner(model, density=0.3, part=Hydra):
    made = PRUNERS[part.kind](model, part(density), 1, 0)
    made.begin()
    return made


def names(model):
    kinds = nn.Conv2d | nn.Linear
    return [f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, kinds)]


@pytest.mark.parametrize("density", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("backbone", ["resnet20", "vgg16"])
def test_it_begins_with_scaled_scores_and_the_largest_weights_of_every_layer(backbone, density):
    masked, plain = networks(backbone)
    made = pruner(masked, density)
    weights = dict(plain.named_parameters())
    assert len(made.layers) == len(names(plain))
    for name, layer, score in zip(names(plain), made.layers, made.scores, strict=True):
        w = weights[name].detach()
        fan_in = w.numel() // len(w)
        torch.testing.assert_close(score, math.sqrt(6 / fan_in) * w / w.abs().max())
        count = w.numel() - int((1 - density) * w.numel())
        least = w.abs().flatten().sort(descending=True).values[count - 1]
        assert torch.equal(layer.mask, w.abs() >= least) and int(layer.mask.sum()) == count
        assert torch.equal(layer.weight, w * layer.mask)
    assert made.row() == {"active_weights": sum(kept(density, w.numel()) for w in made.weights)}
    assert {name for name in masked.state_dict() if name.startswith("fc")} == {
        name for name in plain.state_dict() if name.startswith("fc")
    }


@pytest.mark.parametrize(("decay", "part"), [(0.0, Hydra), (0.05, Hydra), (0.05, HydraStill)])
def test_its_steps_are_those_of_sgd_on_the_scores(decay, part):
    """Two passes a step, as TRADES makes; weights and biases stand still, batch norms may."""
    masked, plain = networks()
    masked, plain = masked.double(), plain.double()
    made = pruner(masked, part=part)
    how = {"lr": 0.2, "momentum": 0.9, "weight_decay": decay}
    optimiser = torch.optim.SGD(masked.parameters(), **how, fused=True)
    fixed = {name: p.detach().clone() for name, p in plain.named_parameters()}
    scores = {
        name: score.clone().requires_grad_()
        for name, score in zip(names(plain), made.scores, strict=True)
    }
    left = fixed.keys() - scores.keys() - {"fc.bias"} if part is Hydra else ()
    free = {n: fixed[n].clone().requires_grad_() for n in left}
    reference = torch.optim.SGD([*scores.values(), *free.values()], **how)

    def oracle(x):
        chosen = {n: fixed[n] * Subnet.apply(s.abs(), 0.3) for n, s in scores.items()}
        return torch.func.functional_call(plain, {**fixed, **chosen, **free}, x)

    before = [layer.mask.clone() for layer in made.layers]
    for step in range(6):
        x = torch.rand(8, 1, 8, 8, dtype=torch.double)
        y = torch.randint(0, 10, (8,))
        for f, optim in ((masked, optimiser), (oracle, reference)):
            loss = F.cross_entropy(f(x), y) + F.cross_entropy(f(x.flip(3)), y)
            optim.zero_grad(set_to_none=True)
            loss.backward()
            optim.step()
        made.after_step()
        for name, ours in zip(scores, made.scores, strict=True):
            torch.testing.assert_close(ours, scores[name].detach(), msg=f"{name} at step {step}")
    after = dict(masked.named_parameters())
    for name, p in free.items():
        torch.testing.assert_close(after[name], p)
    assert all(torch.equal(after[n], fixed[n]) for n in fixed.keys() - scores.keys() - free.keys())
    for name, layer, weight in zip(scores, made.layers, made.weights, strict=True):
        assert torch.equal(weight, fixed[name])
        assert torch.equal(after[name], fixed[name] * layer.mask)
        assert int(layer.mask.sum()) == kept(0.3, weight.numel())
    assert any(not torch.equal(old, new.mask) for old, new in zip(before, made.layers, strict=True))


def digests():
    return {name: runs.load(r).marks()["weights_sha256"] for name, r in CHAIN.items()}


def test_three_stages_keep_what_they_should_and_a_stop_in_each_changes_no_bit(results):
    runs.fit(TUNED)
    straight = digests()
    dense, pruned, tuned = (runs.load(r).model().state_dict() for r in CHAIN.values())
    weights = [name for name in dense if dense[name].dim() > 1]
    assert len(weights) == 14  # thirteen convolutions and the classifier
    for name in weights:
        zeros = pruned[name] == 0
        assert int((~zeros).sum()) == kept(0.3, zeros.numel())
        assert torch.equal(pruned[name], dense[name] * ~zeros)  # weights stood still
        assert not tuned[name][zeros].any() and not torch.equal(tuned[name], pruned[name])
        bias = name.replace("weight", "bias")
        assert torch.equal(pruned[bias], dense[bias]) and not torch.equal(tuned[bias], dense[bias])
    assert not torch.equal(pruned[norm := "layer1.0.bn.weight"], dense[norm])
    counts = runs.load(PRUNED).history["active_weights"]
    assert set(counts) == {sum(kept(0.3, dense[name].numel()) for name in weights)}
    assert set(runs.load(TUNED).history["active_weights"]) == set(counts)
    store.remove(paths.runs())
    for recipe in CHAIN.values():
        unfinished(recipe)
        assert (runs.folder(recipe) / "resume.pt").is_file()
    runs.fit(TUNED)
    assert digests() == straight


def test_of_zero_epochs_the_largest_weights_stay_for_fine_tuning(results):
    least = replace(PRUNED, train=Train(0, batch=16))
    runs.fit(replace(TUNED, start=least))
    dense, pruned = (runs.load(r).model().state_dict() for r in (DENSE, least))
    for name in (name for name in dense if dense[name].dim() > 1):
        w = dense[name]
        largest = w.abs().flatten().topk(kept(0.3, w.numel())).values.min()
        assert torch.equal(pruned[name], w * (w.abs() >= largest))
