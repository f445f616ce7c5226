"""What `lib.bench` compares with: training steps in eager float32 NCHW, as in released codes.

Networks and losses are those of the suite. But attacks differentiate the network that trains as it
stands: it draws noise and multiplies masks in every pass, and nothing is folded, fused or compiled.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import device
from lib.attacks.loss import Classifier
from lib.methods import METHODS
from lib.models import create
from lib.trainers import Context, objective


def network(method: str, backbone: str, width: int) -> nn.Module:
    """Return an untrained network for 32x32 images of ten classes."""
    return create(method, backbone, width=width).to(device.device())


def attack(model: nn.Module, eps: float, steps: int, f: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Return PGD's last iterate against f, which calls model; steps sum to 1.25 eps."""
    model.eval()
    model.requires_grad_(False)
    adv = (x + (2 * torch.rand_like(x) - 1) * eps).clamp(0, 1)
    for _ in range(steps):
        adv.requires_grad_(True)
        loss = F.cross_entropy(f(adv), y, reduction="sum")
        (grad,) = torch.autograd.grad(loss, adv)
        adv = adv.detach() + 1.25 * eps / steps * torch.sign(grad)
        adv = torch.min(torch.max(adv, x - eps), x + eps).clamp(0, 1)
    model.requires_grad_(True)
    model.train()
    return adv


def training(
    method: str, model: nn.Module, eps: float, steps: int
) -> Callable[[Tensor, Tensor], float]:
    """Return the training step of a method: of images and labels, by SGD, to the loss."""
    context = Context(partial(attack, model, eps, steps), torch.Generator())
    loss_of = objective(METHODS[method]())
    sgd = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)

    def step(x: Tensor, y: Tensor) -> float:
        loss = loss_of(model, x, y, context)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss.item()

    return step
