"""Networks that the tests of attacks share."""

import pytest
import torch
from torch import nn


@pytest.fixture
def net() -> nn.Module:
    """A small convolutional network with batch norm, in eval mode."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 64, 10),
    )  # fmt: skip
    model.train()(torch.rand(16, 3, 8, 8))
    return model.eval()
