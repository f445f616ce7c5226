"""The attack and the loss of TRADES against their released form, written with autograd alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib import runs
from lib.attacks import trades
from lib.methods import Trades
from lib.recipe import Attack
from lib.trainers import Context, objective, trainer_of
from tests.tiny import digits, trainer

RECIPE = digits(Trades(), attack=Attack(0.1, 3, 0.05), epochs=3)


def released(f, x, eps, step, steps, noise):
    """The inner loop of the released code, in Linf; kl_div sums over the batch."""
    adv = x + 0.001 * noise
    for _ in range(steps):
        adv = adv.detach().requires_grad_()
        loss = F.kl_div(f(adv).log_softmax(1), f(x).softmax(1), reduction="sum")
        adv = adv + step * torch.autograd.grad(loss, adv)[0].sign()
        adv = torch.min(torch.max(adv, x - eps), x + eps).clamp(0, 1)
    return adv.detach()


@pytest.mark.parametrize("steps", [1, 10])
def test_the_attack_is_the_released_one(net, images, labels, steps):
    images = 0.1 + 0.8 * images.double()  # the released start may leave [0, 1]
    net, own = net.double(), {"dtype": torch.double}
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(3), **own)
    start = torch.Generator().manual_seed(3)
    ours = trades(net, images, labels, 0.05, 0.01, steps, generator=start)
    theirs = released(net, images, 0.05, 0.01, steps, noise)
    torch.testing.assert_close(ours, theirs)
    assert not torch.equal(ours, images)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_it_stays_in_the_ball_and_ignores_labels(net, images, labels, distance, norm):
    both = [
        trades(net, images, y, 0.3, None, 4, norm, torch.Generator().manual_seed(1))
        for y in (labels, (labels + 1) % 10)
    ]
    assert torch.equal(*both) and both[0].min() >= 0 and both[0].max() <= 1
    assert (distance(norm, both[0], images) <= 0.3 + 1e-5).all()


def test_the_loss_and_its_gradient_are_those_of_equation_five(images, labels):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    context = Context(attack=lambda f, x, y: x * 0.5, generator=torch.Generator())
    loss = objective(Trades(beta=3.0))(model, images, labels, context)
    grads = torch.autograd.grad(loss, list(model.parameters()))

    def oracle(weights):
        clean, attacked = (
            torch.func.functional_call(model, weights, x).softmax(1) for x in (images, images * 0.5)
        )
        nll = -clean[torch.arange(8), labels].log().mean()
        return nll + 3.0 * (clean * (clean / attacked).log()).sum(1).mean()

    weights = dict(model.named_parameters())
    torch.testing.assert_close(loss, oracle(weights))
    wanted = torch.func.grad(oracle)(weights)
    for ours, theirs in zip(grads, wanted.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_training_attacks_so_in_evaluation_mode_and_other_methods_as_before():
    made = trainer(RECIPE, trainer_of(RECIPE.method))
    x, y = next(made._batches(0))
    adv = made._attack(torch.Generator().manual_seed(5), made.model.train(), x, y)
    a = RECIPE.attack
    generator = torch.Generator().manual_seed(5)
    assert made.model.training
    wanted = trades(made.model.eval(), x, y, a.eps, a.step, a.steps, generator=generator)
    near = (adv - wanted).abs() < 1e-6
    assert near.double().mean() > 0.9  # signs of small gradients may differ
    other = replace(RECIPE, method=Trades(beta=1.0))
    assert runs.code_fingerprint(other) == runs.code_fingerprint(RECIPE)
