"""What every test shares: one thread, a fixed seed, tiny images."""

import signal

import pytest
import torch

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job inherits that
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def images() -> torch.Tensor:
    """Eight 3x8x8 images in [0, 1]."""
    return torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> torch.Tensor:
    """Labels of the eight images, ten classes."""
    return torch.randint(0, 10, (8,), generator=torch.Generator().manual_seed(2))
