"""VGG-16 as DNR's released networks are built."""

import pytest
import torch
from torch import nn

from lib.models import create


def test_it_has_the_published_parameters_and_kernels():
    model = create("plain", "vgg16")
    assert sum(p.numel() for p in model.parameters()) == 14_728_266
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert {(m.kernel_size, m.padding, m.bias is None) for m in layers} == {((3, 3), (1, 1), False)}
    widths = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    assert [m.out_channels for m in layers] == widths
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == widths and all((m.weight == 0.5).all() for m in norms)


@pytest.mark.parametrize(("size", "last"), [(8, 1), (32, 1), (64, 2)])
def test_images_of_any_size_are_pooled_five_times_at_most_to_a_pixel(size, last):
    model, sizes = create("plain", "vgg16", width=2, num_classes=7).eval(), []
    model.layer5.register_forward_hook(lambda *call: sizes.append(call[2].shape[-1]))
    assert model(torch.rand(2, 3, size, size)).shape == (2, 7)
    assert sizes == [max(1, size // 16)] and -(-sizes[0] // 2) == last
