"""What `lib.bench` compares with: training steps in eager float32 NCHW, as in released codes.

A second, independent writing of networks, attack and losses: layers draw noise and multiply masks
in every pass, the attack differentiates the training network as it stands. Names of weights are
those of `lib.models.create`, so that both compute with the same ones.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAMBDAS = (0.0, 0.2, 0.7, 1.0)
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


class Call(NamedTuple):
    """How images pass: the first `clean` by the clean batch norms; noise; codes of lambda."""

    clean: int
    noisy: bool = False
    code: Any = None  # (N, 128)


class Conv(nn.Conv2d):
    """A convolution with the noise of PNI's released layer, and with SMART's masks."""

    mask_clean: Tensor | None
    mask_adv: Tensor | None

    def __init__(self, *shape: Any, noise: bool, masked: bool = False, **options: Any) -> None:
        super().__init__(*shape, **options, bias=False)  # type: ignore[misc]
        self.alpha = nn.Parameter(torch.tensor([0.25])) if noise else None
        for name in ("mask_clean", "mask_adv"):
            mask = torch.rand(self.weight.shape) < 0.5 if masked else None
            self.register_buffer(name, mask)

    def draw(self) -> Tensor:
        """Return noise with the standard deviation of the weights."""
        with torch.no_grad():
            return self.weight.clone().normal_(0, self.weight.std().item())

    def forward(self, x: Tensor, call: Call) -> Tensor:  # type: ignore[override]
        weight = self.weight
        if self.alpha is not None and call.noisy:
            weight = weight + self.alpha * self.draw()
        mask = self.mask_adv if call.noisy else self.mask_clean
        return self._conv_forward(x, weight if mask is None else weight * mask, None)


class Norm(nn.BatchNorm2d):
    """A batch norm, with an adversarial one beside it and FiLM after it where asked for."""

    def __init__(self, channels: int, dual: bool, film: bool) -> None:
        super().__init__(channels)
        self.adv = nn.BatchNorm2d(channels) if dual else None
        sizes = {"linear1": 128, "linear2": 2 * channels}
        layers = {name: nn.Linear(size, 2 * channels) for name, size in sizes.items()}
        self.film = nn.ModuleDict(layers) if film else None

    def forward(self, x: Tensor, call: Call) -> Tensor:  # type: ignore[override]
        if self.adv is None or call.clean == len(x):
            x = super().forward(x)
        elif call.clean == 0:
            x = self.adv(x)
        else:
            x = torch.cat([super().forward(x[: call.clean]), self.adv(x[call.clean :])])
        if self.film is None:
            return x
        hidden = F.leaky_relu(self.film["linear1"](call.code))
        scale, shift = F.leaky_relu(self.film["linear2"](hidden)).chunk(2, dim=1)
        return x * scale[:, :, None, None] + shift[:, :, None, None]


class Block(nn.Module):
    """A basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int, masked: bool, parts: Any) -> None:
        super().__init__()
        noise, dual, film = parts
        own = {"noise": noise, "masked": masked, "padding": 1}
        self.conv1 = Conv(inputs, outputs, 3, stride=stride, **own)
        self.bn1 = Norm(outputs, dual, film)
        self.conv2 = Conv(outputs, outputs, 3, **own)
        self.bn2 = Norm(outputs, dual, film)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            projection = Conv(inputs, outputs, 1, stride=stride, noise=noise)
            self.downsample = nn.ModuleList([projection, Norm(outputs, dual, False)])

    def forward(self, x: Tensor, call: Call) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x, call), call))
        out = self.bn2(self.conv2(out, call), call)
        for layer in self.downsample or ():
            x = layer(x, call)
        return F.relu(out + x)


class ResNet(nn.Module):
    """A ResNet of basic blocks for 32x32 images of ten classes, of the layers of a method."""

    def __init__(self, method: str, backbone: str, width: int) -> None:
        super().__init__()
        dual = method in ("oat", "float", "smart")
        parts = method in ("float", "smart"), dual, method == "oat"
        self.conv1 = Conv(3, width, 3, padding=1, noise=parts[0])
        self.bn1 = Norm(width, *parts[1:])
        inputs = width
        for stage, count in enumerate(BLOCKS[backbone]):
            layer, outputs = nn.Sequential(), width * 2**stage
            for index in range(count):
                stride = 2 if stage and not index else 1
                masked = method == "smart" and stage >= 2
                layer.append(Block(inputs, outputs, stride, masked, parts))
                inputs = outputs
            setattr(self, f"layer{stage + 1}", layer)
        self.fc = nn.Linear(inputs, 10)

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        """Logits; without a call as a plain network."""
        call = call or Call(len(x))
        x = F.relu(self.bn1(self.conv1(x, call), call))
        for block in self.modules():
            if isinstance(block, Block):
                x = block(x, call)
        return self.fc(F.avg_pool2d(x, x.shape[-1]).flatten(1))


def start(x: Tensor, eps: float) -> Tensor:
    """Return where the attack starts from images, before it is clamped to [0, 1]."""
    return x + (2 * torch.rand_like(x) - 1) * eps


def attack(model: nn.Module, x: Tensor, y: Tensor, call: Call, eps: float, steps: int) -> Tensor:
    """Return PGD's last iterate against a network in evaluation mode; steps sum to 1.25 eps."""
    model.eval()
    for p in model.parameters():
        p.requires_grad_(False)
    adv = start(x, eps).clamp(0, 1)
    for _ in range(steps):
        adv.requires_grad_(True)
        loss = F.cross_entropy(model(adv, call), y, reduction="sum")
        (grad,) = torch.autograd.grad(loss, adv)
        adv = adv.detach() + 1.25 * eps / steps * torch.sign(grad)
        adv = torch.min(torch.max(adv, x - eps), x + eps).clamp(0, 1)
    for p in model.parameters():
        p.requires_grad_(True)
    model.train()
    return adv


def sample(batch: int) -> Tensor:
    """Return OAT's trade-offs of a batch (B,), a quarter of them zeros, which come first."""
    zeros = math.ceil(batch / len(LAMBDAS))
    return torch.cat(
        [torch.zeros(zeros), torch.tensor(LAMBDAS)[torch.randint(1, 4, (batch - zeros,))]]
    )


class Step:
    """The training step of a method, called with images and labels: loss, backward, SGD."""

    def __init__(
        self, method: str, model: nn.Module, table: Tensor, eps: float, steps: int
    ) -> None:
        """Table holds OAT's codes, (4, 128)."""
        self.method, self.model, self.table, self.eps, self.steps = method, model, table, eps, steps
        self.sgd = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)

    def __call__(self, x: Tensor, y: Tensor) -> float:
        """Take the step and return the loss."""
        loss: Tensor = getattr(self, self.method)(x, y)
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()
        return loss.item()

    def plain(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of clean images."""
        return F.cross_entropy(self.model(x), y)

    def pgd_at(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of adversarial images."""
        return self.plain(attack(self.model, x, y, Call(len(x)), self.eps, self.steps), y)

    def oat(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean of (1 - lam) clean + lam adversarial cross-entropy; lam = 0 is not attacked."""
        lams = sample(len(x)).to(x)
        zeros = int((lams == 0).sum())
        row = (lams[:, None] - torch.tensor(LAMBDAS).to(x)).abs().argmin(1)
        code = self.table[row]
        clean = F.cross_entropy(self.model(x, Call(zeros, code=code)), y, reduction="none")
        call = Call(0, code=code[zeros:])
        adv = attack(self.model, x[zeros:], y[zeros:], call, self.eps, self.steps)
        robust = F.cross_entropy(self.model(adv, call), y[zeros:], reduction="none")
        robust = torch.cat([robust.new_zeros(zeros), robust])
        return torch.mean((1 - lams) * clean + lams * robust)

    def float(self, x: Tensor, y: Tensor) -> Tensor:
        """Half the cross-entropy of a clean and an adversarial half batch (FLOAT, Algorithm 1)."""
        half, call = len(x) // 2, Call(0, noisy=True)
        adv = attack(self.model, x[half:], y[half:], call, self.eps, self.steps)
        clean = F.cross_entropy(self.model(x[:half], Call(half)), y[:half])
        return 0.5 * clean + 0.5 * F.cross_entropy(self.model(adv, call), y[half:])

    smart = float
