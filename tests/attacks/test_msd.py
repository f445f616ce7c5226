"""L1 by few pixels against steps by hand and bisection, MSD against picking image by image."""

import pytest
import torch
from torch.nn import functional as F

from lib.attacks import msd, pgd
from lib.errors import UserError
from lib.methods import Msd
from lib.recipe import Attack, Data, Model, Recipe
from lib.trainers import Context, objective, trainer_of
from tests.tiny import digits, trainer

FEW = "l1-sparse"
RADII, SIZES = {"linf": 0.03, "l2": 0.4, FEW: 3.0}, {"linf": 0.01, "l2": 0.11, FEW: 0.75}


def drawn(steps, seed):
    """How many pixels each step moves; the attack that follows draws the same."""
    torch.manual_seed(seed)
    counts = [int(torch.randint(5, 21, ())) for _ in range(steps)]
    torch.manual_seed(seed)
    return counts


@pytest.fixture
def wide(net, images):
    """A network and images of double precision, in which no sign or order is left to rounding."""
    return net.double(), images.double()


def gradient(f, adv, y):
    adv = adv.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(f(adv[None]), y[None]), adv)[0]


@torch.no_grad()
def loss_of(f, image, y):
    return float(F.cross_entropy(f(image[None]), y[None]))


def shrunk(delta, eps):
    """The nearest point of the L1 ball, its threshold found by bisection."""
    low, high = 0.0, float(delta.abs().max())
    if delta.abs().sum() <= eps:
        return delta
    for _ in range(100):
        middle = (low + high) / 2
        inside = float((delta.abs() - middle).clamp(min=0).sum()) <= eps
        low, high = (low, middle) if inside else (middle, high)
    return delta.sign() * (delta.abs() - high).clamp(min=0)


def moved(norm, adv, x, grad, k):
    """One candidate by hand, for one image."""
    eps, size = RADII[norm], SIZES[norm]
    if norm == "linf":
        delta = (adv - x + size * grad.sign()).clamp(-eps, eps)
    elif norm == "l2":
        delta = adv - x + size * grad / grad.norm()
        delta = delta * min(1.0, eps / float(delta.norm()))
    else:
        slopes, flat = grad.flatten().tolist(), adv.flatten().tolist()
        room = [i for i, g in enumerate(slopes) if g and (flat[i] < 1 if g > 0 else flat[i] > 0)]
        step = torch.zeros(grad.numel(), dtype=grad.dtype)
        for i in sorted(room, key=lambda i: -abs(slopes[i]))[:k]:
            step[i] = size / k * (1 if slopes[i] > 0 else -1)
        delta = shrunk(adv - x + step.view(adv.shape), eps)
    return (x + delta).clamp(0, 1)


def test_steps_in_l1_move_as_many_pixels_as_drawn_and_are_projected(wide, labels):
    f, x = wide
    counts = drawn(5, 0)
    ours = pgd(f, x, labels, RADII[FEW], SIZES[FEW], 5, FEW, random_start=False)
    for image, y, found in zip(x, labels, ours, strict=True):
        adv = image
        for k in counts:
            adv = moved(FEW, adv, image, gradient(f, adv, y), k)
        torch.testing.assert_close(found, adv)


def test_the_number_of_pixels_is_drawn_for_each_step(wide, labels):
    f, x = wide
    x = 0.4 + 0.2 * x  # room everywhere
    for seed in range(4):
        count = drawn(1, seed)[0]
        delta = (pgd(f, x, labels, 12.0, 0.1, 1, FEW, random_start=False) - x).flatten(1)
        assert ((delta != 0).sum(1) == count).all()
        torch.testing.assert_close(delta.abs().sum(1), torch.full((8,), 0.1).double())
    assert set(drawn(1000, 0)) == set(range(5, 21))


@pytest.mark.parametrize("steps", [1, 6])
def test_msd_is_what_picking_by_hand_for_each_image_gives(wide, labels, steps):
    f, x = wide
    counts = drawn(steps, 0)
    ours = msd(f, x, labels, RADII, SIZES, steps)
    used = set()
    for image, y, found in zip(x, labels, ours, strict=True):
        adv, seen = image, []
        for k in counts:
            grad = gradient(f, adv, y)
            options = {norm: moved(norm, adv, image, grad, k) for norm in RADII}
            losses = {n: loss_of(f, v, y) for n, v in options.items()}
            norm = max(losses, key=losses.get)
            used.add(norm)
            adv = options[norm]
            seen.append((losses[norm], adv))
        torch.testing.assert_close(found, max(seen, key=lambda one: one[0])[1])
    assert len(used) > 1 or steps == 1


def test_msd_ends_inside_a_ball_and_starts_at_the_image(wide, labels, distance):
    f, x = wide
    assert torch.equal(msd(f, x, labels, RADII, SIZES, 0), x)
    adv = msd(f, x, labels, RADII, SIZES, 8)
    inside = [distance(n.partition("-")[0], adv, x) <= eps + 1e-9 for n, eps in RADII.items()]
    assert torch.stack(inside).any(0).all() and adv.min() >= 0 and adv.max() <= 1
    only = msd(f, x, labels, {"l2": 0.3}, {"l2": 0.1}, 8)
    assert (distance("l2", only, x) <= 0.3 + 1e-9).all()


def test_a_training_by_msd_attacks_in_its_three_balls(images, labels):
    method = Msd(l2=0.4, l2_step=0.2, l1=2.0, l1_step=0.5)
    recipe = digits(method, attack=Attack(0.1, 3, 0.05), epochs=1)
    made = trainer(recipe, trainer_of(method))
    x, y = next(made._batches(0))
    torch.manual_seed(5)
    adv = made._attack(torch.Generator(), made.model.train(), x, y)
    radii, sizes = {"linf": 0.1, "l2": 0.4, FEW: 2.0}, {"linf": 0.05, "l2": 0.2, FEW: 0.5}
    assert made.model.training
    torch.manual_seed(5)
    wanted = msd(made.model.eval(), x, y, radii, sizes, 3)
    assert (adv - wanted).abs().lt(1e-5).double().mean() > 0.9  # rounding may turn a choice
    assert made.epoch()["loss"] > 0
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    context = Context(lambda f, x, y: x / 2, torch.Generator())
    loss = objective(method)(flat, images, labels, context)
    torch.testing.assert_close(loss, F.cross_entropy(flat(images / 2), labels))


def test_msd_is_refused_in_another_norm():
    with pytest.raises(UserError, match="norm of msd"):
        Recipe(Data("digits"), Model("resnet20"), Msd(), attack=Attack(0.5, norm="l2"))
