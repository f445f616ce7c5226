"""Losses of the methods against what the papers' formulas say, on networks one can compute."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.methods import Float, FloatSlim, Hybrid, Oat, OatSlim, PgdAt, Plain, Pni, Smart
from lib.trainers import Context, objective
from lib.trainers.objectives import sample_lambdas


class Recorder(nn.Module):
    """A linear network that notes how it was called: (rows of x, lam, split).

    At slim it has the leading share of its inputs.
    """

    def __init__(self, effect: float = 1.0):
        super().__init__()
        self.linear = nn.Linear(192, 10)
        self.effect, self.calls = effect, []

    def forward(self, x, lam=0.0, split=None, slim=1.0):
        self.calls.append((x, lam, split))
        shift = lam[:, None] if torch.is_tensor(lam) else lam
        kept = torch.arange(192) < 192 * slim
        return self.linear(x.flatten(1) * kept) * (1 + self.effect * shift)


@pytest.fixture
def model():
    return Recorder()


def darker(f, x, y):
    """Stands in for an attack: halves the pixels."""
    return x * 0.5


CONTEXT = Context(attack=darker, generator=torch.Generator().manual_seed(0))


def ce(logits, y):
    return F.cross_entropy(logits, y)


def test_plain_is_the_cross_entropy(model, images, labels):
    loss = objective(Plain())(model, images, labels, CONTEXT)
    torch.testing.assert_close(loss, ce(model(images), labels))


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_the_hybrid_loss_is_clean_at_first_and_pgd_at_from_then_on(model, images, labels, epoch):
    context = replace(CONTEXT, epoch=epoch)
    loss = objective(Hybrid(lam=0.3, clean_epochs=2))(model, images, labels, context)
    clean, attacked = (ce(model(x), labels) for x in (images, images * 0.5))
    torch.testing.assert_close(loss, clean if epoch < 2 else 0.7 * clean + 0.3 * attacked)


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("loop", ["paper", "released"])
def test_pgd_at_weighs_clean_and_adversarial_losses(model, images, labels, lam, loop):
    loss = objective(PgdAt(lam, loop))(model, images, labels, CONTEXT)
    expected = (1 - lam) * ce(model(images), labels) + lam * ce(model(images * 0.5), labels)
    torch.testing.assert_close(loss, expected)


def test_pgd_at_passes_only_what_its_lambda_weighs_but_in_the_released_loop(model, images, labels):
    def attack(f, x, y):
        raise AssertionError("attacked")

    objective(PgdAt(0.0))(model, images, labels, Context(attack, CONTEXT.generator))
    objective(PgdAt(1.0))(model, images, labels, CONTEXT)
    assert len(model.calls) == 2
    objective(PgdAt(1.0, "released"))(model, images, labels, CONTEXT)
    assert len(model.calls) == 4


@pytest.mark.parametrize("clean_epochs", [0, 1])
def test_pni_passes_both_halves_of_the_loss_with_noise_after_its_clean_epochs(
    model, images, labels, clean_epochs
):
    loss = objective(Pni(clean_epochs=clean_epochs))(model, images, labels, CONTEXT)
    assert [lam for _, lam, _ in model.calls] == ([1.0] if clean_epochs else [1.0, 1.0])
    clean, robust = (ce(model(x, 1.0), labels) for x in (images, images * 0.5))
    torch.testing.assert_close(loss, clean if clean_epochs else 0.5 * clean + 0.5 * robust)


def test_pni_attacks_the_labels_that_its_clean_pass_predicts(model, images, labels):
    def attack(f, x, y):
        assert len(model.calls) == 1 and torch.equal(y, model(images, 1.0).argmax(1))
        return x * 0.5

    loss = objective(Pni(clean_epochs=0))(model, images, labels, Context(attack, CONTEXT.generator))
    assert not torch.equal(model(images, 1.0).argmax(1), labels) and loss.requires_grad


@pytest.mark.parametrize("method", [Float(), Float(loop="released"), Oat(), Pni(clean_epochs=0)])
def test_the_clean_pass_comes_before_the_attack(model, images, labels, method):
    """In training mode it moves the statistics of batch norms, which the attack uses."""

    def attack(f, x, y):
        model.calls.append("attack")
        return x

    objective(method)(model, images, labels, Context(attack, CONTEXT.generator))
    assert [call == "attack" for call in model.calls] == [False, True, False]


@pytest.mark.parametrize("method", [Float(), Smart()])
def test_algorithm_one_splits_the_batch_between_the_paths(model, images, labels, method):
    loss = objective(method)(model, images, labels, CONTEXT)
    clean = ce(model(images[:4], 0.0), labels[:4])
    robust = ce(model(images[4:] * 0.5, 1.0), labels[4:])
    torch.testing.assert_close(loss, 0.5 * clean + 0.5 * robust)


def test_released_loop_passes_all_images_clean_and_halves_the_batch_norms(model, images, labels):
    loss = objective(Float(loop="released"))(model, images, labels, CONTEXT)
    x, lam, split = model.calls[0]
    assert (len(x), lam, split) == (8, 0.0, 4)
    clean = ce(model(images, 0.0), labels)
    robust = ce(model(images[4:] * 0.5, 1.0), labels[4:])
    torch.testing.assert_close(loss, 0.5 * clean + 0.25 * robust)


def test_oat_weighs_every_image_by_its_own_lambda(model, images, labels):
    method = Oat(lambdas=(0.0, 0.2, 0.7, 1.0))
    context = Context(darker, torch.Generator().manual_seed(5))
    loss = objective(method)(model, images, labels, context)
    lams = sample_lambdas(method.lambdas, 8, torch.Generator().manual_seed(5))
    total = 0.0
    for x, y, lam in zip(images, labels, lams, strict=True):
        clean = ce(model(x[None], lam[None]), y[None])
        robust = ce(model(x[None] * 0.5, lam[None]), y[None])
        total = total + (1 - lam) * clean + lam * robust
    torch.testing.assert_close(loss, total / 8)


@pytest.mark.parametrize(
    ("method", "base"),
    [
        (FloatSlim(slims=(0.25, 1.0, 0.5)), Float()),
        (FloatSlim(slims=(0.25, 1.0, 0.5), loop="released"), Float(loop="released")),
        (OatSlim(slims=(0.25, 1.0, 0.5)), Oat()),
    ],
)
def test_slim_losses_sum_over_widths_each_attacked_by_itself(model, images, labels, method, base):
    def attack(f, x, y):  # depends on the network it is given
        x = x.clone().requires_grad_()
        return (x + ce(f(x), y)).detach()

    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    loss = objective(method)(model, images, labels, Context(attack, generators[0]))
    total = 0.0
    for slim in (1.0, 0.5, 0.25):  # the order decides which draws a width gets
        width = partial(model, slim=slim)
        total = total + objective(base)(width, images, labels, Context(attack, generators[1]))
    torch.testing.assert_close(loss, total)


@pytest.mark.parametrize("batch", [1, 7, 8, 128])
def test_lambdas_start_with_the_zeros_and_come_from_the_set(batch):
    lambdas = (0.0, 0.2, 0.7, 1.0)
    lams = sample_lambdas(lambdas, batch, torch.Generator().manual_seed(0))
    zeros = math.ceil(batch / 4)
    assert len(lams) == batch
    assert (lams[:zeros] == 0).all()
    assert torch.isin(lams[zeros:], torch.tensor(lambdas[1:])).all()


def test_positive_lambdas_are_uniform():
    lams = sample_lambdas((0.0, 0.2, 0.7, 1.0), 40_000, torch.Generator().manual_seed(0))
    for lam in (0.2, 0.7, 1.0):  # 30,000 draws: five standard errors are 0.014
        assert abs(float((lams[10_000:] == lam).double().mean()) - 1 / 3) < 0.014
