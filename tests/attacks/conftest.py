"""What the tests of attacks share: a network, and how far images are from each other."""

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def distance():
    """The distance in a norm of each image (N,) from another."""
    order = {"linf": float("inf"), "l2": 2, "l1": 1}
    return lambda norm, adv, x: torch.linalg.vector_norm((adv - x).flatten(1), order[norm], dim=1)


@pytest.fixture
def net() -> nn.Module:
    """A small convolutional network with batch norm, in eval mode."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 64, 10),
    )  # fmt: skip
    model.train()(torch.rand(16, 3, 8, 8))
    return model.eval()
