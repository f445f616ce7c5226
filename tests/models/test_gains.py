"""Eq. 8 of GDWS against plain autograd, one image and one class at a time."""

import torch
import torch.nn.functional as F
from torch import nn

from lib.models.gains import error_weights


class Shared(nn.Module):
    """Uses one layer twice, changes values in place, mirrors borders, strides and dilates."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect", bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, (1, 3), padding="same")
        self.wide = nn.Conv2d(4, 40, 3, stride=3, dilation=2, padding=1)
        self.groups = nn.Conv2d(40, 6, 3, groups=2, padding=1)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x = self.twice(F.relu(self.twice(x), inplace=True))
        x = self.groups(F.relu(self.wide(x.mul_(2)), inplace=True))
        return self.fc(F.relu(x).mean((2, 3)))


def by_autograd(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Eq. 8 as it is written: one image and one class at a time."""
    convs = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1}
    sums = {name: torch.zeros(conv.in_channels).double() for name, conv in convs.items()}
    for image in images:
        z = model(image[None])[0]
        label = int(z.argmax())
        for j in set(range(len(z))) - {label}:
            weights = [conv.weight for conv in convs.values()]
            gradients = torch.autograd.grad(z[j] - z[label], weights, retain_graph=True)
            for name, d in zip(convs, gradients, strict=True):
                squares = d.square().sum((0, 2, 3)) / d[:, 0].numel()
                sums[name] += squares / (2 * (z[j] - z[label]).detach() ** 2)
    return {name: total / len(images) for name, total in sums.items()}


def test_error_weights_are_those_of_autograd_image_by_image(images, make):
    for model in (Shared().double(), make("plain").double()):
        model.train()
        running = {name: value.clone() for name, value in model.named_buffers()}
        seen = []
        found = error_weights(model, images.double(), batch=4, report=seen.append)
        assert seen == [4 / 6, 1.0] and model.training
        assert all(torch.equal(value, running[name]) for name, value in model.named_buffers())
        assert all(p.grad is None for p in model.parameters())
        expected = by_autograd(model.eval(), images.double())
        assert found.keys() == expected.keys()
        for name, alpha in found.items():
            torch.testing.assert_close(alpha, expected[name], rtol=1e-9, atol=1e-12)
        again = error_weights(model, images.double(), batch=6)
        for name, alpha in again.items():
            torch.testing.assert_close(alpha, found[name], rtol=1e-9, atol=1e-12)


def test_error_weights_need_no_trainable_weight_and_no_gradients(images):
    model = Shared().double().eval()
    expected = error_weights(model, images.double())
    with torch.no_grad():
        still = error_weights(model.requires_grad_(False), images.double())
    assert all(torch.equal(still[name], alpha) for name, alpha in expected.items())
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.zero_()  # all logits are equal
    assert all(not alpha.any() for alpha in error_weights(model, images.double()).values())
