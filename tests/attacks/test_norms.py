"""The three balls: projections against an optimiser, uniform starts, both constraints at once."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lib.attacks import norms

SHAPE = (2, 3, 2, 2)
NORMS = ("linf", "l2", "l1")
BALLS = {name: norms.NORMS[name]() for name in NORMS}
pixels = arrays.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))
moves = arrays.arrays(np.float32, SHAPE, elements=st.floats(-3, 3, width=32))


@pytest.mark.parametrize("norm", NORMS)
@given(x=pixels, move=moves, eps=st.floats(1e-3, 4))
@settings(max_examples=60, deadline=None)
def test_projection_satisfies_the_ball_and_the_image_range(distance, norm, x, move, eps):
    x, ball = torch.from_numpy(x), BALLS[norm]
    got = ball.project(x + torch.from_numpy(move), x, eps)
    assert got.min() >= 0 and got.max() <= 1
    # twelve sums of float32 numbers up to 4, each rounded by up to 2.4e-7
    assert (distance(norm, got, x) <= eps * (1 + 1e-5) + 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
@given(x=pixels, move=moves)
@settings(max_examples=30, deadline=None)
def test_projection_leaves_points_inside_alone(distance, norm, x, move):
    x, ball = torch.from_numpy(x), BALLS[norm]
    inside = (x + 0.1 * torch.from_numpy(move)).clamp(0, 1)
    eps = distance(norm, inside, x).max().item() + 1e-4
    torch.testing.assert_close(ball.project(inside, x, eps), inside)


def nearest(delta: np.ndarray, eps: float) -> np.ndarray:
    """Project onto the L1 ball with a general-purpose solver; p - q with p, q >= 0."""
    d = len(delta)
    found = minimize(
        lambda z: ((z[:d] - z[d:] - delta) ** 2).sum(),
        np.full(2 * d, eps / (4 * d)),
        jac=lambda z: np.concatenate([2 * (z[:d] - z[d:] - delta), -2 * (z[:d] - z[d:] - delta)]),
        bounds=[(0, None)] * (2 * d),
        constraints={"type": "ineq", "fun": lambda z: eps - z.sum()},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.x[:d] - found.x[d:]


@pytest.mark.parametrize("seed", range(6))
def test_l1_projection_is_the_nearest_point_of_the_ball(seed):
    rng = np.random.default_rng(seed)
    delta, eps = rng.normal(size=7) * 0.1, rng.uniform(0.05, 0.6)
    x = torch.full((1, 1, 1, 7), 0.5, dtype=torch.float64)
    got = BALLS["l1"].project(x + torch.from_numpy(delta), x, eps) - x
    np.testing.assert_allclose(got.flatten().numpy(), nearest(delta, eps), atol=1e-5)


def test_l2_projection_keeps_the_direction_and_ends_on_the_sphere():
    x = torch.full(SHAPE, 0.5, dtype=torch.float64)
    delta = torch.randn(SHAPE, dtype=torch.float64)
    got = BALLS["l2"].project(x + delta, x, 0.2) - x
    cosine = torch.nn.functional.cosine_similarity(got.flatten(1), delta.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(got.flatten(1).norm(dim=1), torch.full((2,), 0.2).double())


@pytest.mark.parametrize("norm", NORMS)
def test_starts_are_uniform_in_the_ball(distance, norm):
    """In d dimensions a uniform point is within r eps with probability r^d; n = 4,000, 4 sigma."""
    x = torch.full((4000, 1, 1, 3), 0.5, dtype=torch.float64)
    start = BALLS[norm].start(x, 0.1, torch.Generator().manual_seed(0))
    radius = distance(norm, start, x) / 0.1
    assert radius.max() <= 1
    for r in (0.5, 0.8):
        assert (radius <= r).double().mean().item() == pytest.approx(r**3, abs=0.032)
    assert (start - x).mean(0).abs().max() < 0.1 * 4 / 4000**0.5


@pytest.mark.parametrize("norm", NORMS)
def test_starts_respect_ball_and_range_near_black_and_white(distance, norm):
    x = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(SHAPE).clone()
    start = BALLS[norm].start(x, 0.5, torch.Generator().manual_seed(0))
    assert start.min() >= 0
    assert start.max() <= 1
    assert (distance(norm, start, x) <= 0.5 + 1e-6).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_seed_means_the_same_start_in_any_memory_layout(norm):
    x = torch.rand(4, 3, 5, 5)
    starts = [
        BALLS[norm].start(image, 0.1, torch.Generator().manual_seed(7))
        for image in (x, x.contiguous(memory_format=torch.channels_last))
    ]
    assert torch.equal(*starts)
    assert starts[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_an_l2_step_has_its_length_however_small_the_gradient(scale):
    x = torch.full(SHAPE, 0.5)
    step = BALLS["l2"].ascend(x, torch.randn(SHAPE) * scale, 0.25) - x
    torch.testing.assert_close(step.flatten(1).norm(dim=1), torch.full((2,), 0.25))


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_moves_nothing(norm):
    x = torch.rand(SHAPE)
    assert torch.equal(BALLS[norm].ascend(x, torch.zeros(SHAPE), 0.25), x)


def test_an_l1_step_never_pushes_a_pixel_that_has_no_room():
    x = torch.tensor([0.0, 1.0, 0.5, 0.5]).view(1, 1, 2, 2)
    grad = torch.tensor([-9.0, 9.0, 1.0, -2.0]).view(1, 1, 2, 2)
    moved = norms.L1(top=0.25).ascend(x, grad, 0.1) - x
    torch.testing.assert_close(moved.flatten(), torch.tensor([0.0, 0.0, 0.0, -0.1]))
