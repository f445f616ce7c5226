"""Where methods meet backbones: which layers a method asks the backbone to be built from."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lib.errors import UserError, check_range, choose
from lib.methods import METHODS
from lib.models import layers, masks
from lib.models.conditional import Conditional
from lib.models.conditional_layers import BatchNorm2d, Condition, Conv2d, Linear
from lib.models.encoding import Encoder
from lib.models.layers import Normalised
from lib.models.mobilenet import MobileNetV1, MobileNetV2, SeparableBlock
from lib.models.preact_resnet import (
    PreActBasicBlock,
    PreActBottleneck,
    PreActResNet,
    SeparablePreActResNet,
    UnnormedPreActResNet,
)
from lib.models.resnet import BasicBlock, Bottleneck, CifarResNet, ImageNetResNet, ResNet
from lib.models.robnet import ROBNET_FREE, RobNet
from lib.models.slimmable import SlimmableBatchNorm2d, SlimmableConv2d, SlimmableLinear
from lib.models.vgg import VGG, HydraVgg, VggBn
from lib.models.wide_resnet import WideResNet


@dataclass(frozen=True)
class Backbone:
    """How a network is built."""

    build: type
    arguments: tuple[Any, ...]
    width: int
    stages: int  # a mask pattern has a letter for each
    dropout: bool = False  # whether the network has a place for it


BACKBONES = {
    "mobilenet_v1": Backbone(MobileNetV1, (SeparableBlock, (1, 2, 2, 6, 2)), 32, 5),
    "mobilenet_v2": Backbone(MobileNetV2, (), 32, 7),
    "preact_resnet18": Backbone(PreActResNet, (PreActBasicBlock, (2, 2, 2, 2)), 64, 4),
    "preact_resnet18_admm": Backbone(UnnormedPreActResNet, (PreActBasicBlock, (2, 2, 2, 2)), 64, 4),
    "preact_resnet50": Backbone(PreActResNet, (PreActBottleneck, (3, 4, 6, 3)), 64, 4),
    "resnet18": Backbone(ResNet, (BasicBlock, (2, 2, 2, 2)), 64, 4),
    "resnet18_dws": Backbone(SeparablePreActResNet, (PreActBasicBlock, (2, 2, 2, 2)), 64, 4),
    "resnet20": Backbone(CifarResNet, (BasicBlock, (3, 3, 3)), 16, 3),
    "resnet20_40": Backbone(CifarResNet, (BasicBlock, (3, 3, 3)), 40, 3),
    "resnet34": Backbone(ResNet, (BasicBlock, (3, 4, 6, 3)), 64, 4),
    "resnet50": Backbone(ResNet, (Bottleneck, (3, 4, 6, 3)), 64, 4),
    "resnet50_imagenet": Backbone(ImageNetResNet, (Bottleneck, (3, 4, 6, 3)), 64, 4),
    "robnet_free": Backbone(RobNet, (ROBNET_FREE,), 36, 3),
    "vgg16": Backbone(VGG, ((2, 2, 3, 3, 3),), 64, 5),
    "vgg16_bn": Backbone(VggBn, ((2, 2, 3, 3, 3),), 64, 5),
    "vgg16_hydra": Backbone(HydraVgg, ((2, 2, 3, 3, 3),), 64, 5),
    "wrn16_8": Backbone(WideResNet, (16, 8), 16, 3, True),
    "wrn28_4": Backbone(WideResNet, (28, 4), 16, 3, True),
    "wrn40_2": Backbone(WideResNet, (40, 2), 16, 3, True),
}


def create(
    method: str,
    backbone: str,
    num_classes: int = 10,
    in_channels: int = 3,
    width: int | None = None,
    *,
    prunable: bool = False,
    dropout: float = 0.0,
    normalise: tuple[Sequence[float], Sequence[float]] | None = None,
    **options: Any,
) -> nn.Module:
    """Return a freshly initialised network for images of 8x8 and larger, in [0, 1].

    `lib.methods` has the options of each method, BACKBONES the default widths. Networks that take
    no lam consist of torch's own layers; the others are Conditional. The slims of float_slim and
    oat_slim are the shares of the channels, 1 among them, that a call may ask for; each must leave
    every layer a whole number of channels. prunable adds a mask to every convolution, normalise, a
    mean and a standard deviation of each channel or of all, that step before the first layer.
    """
    kind: Any = METHODS[choose("method", method, METHODS)]
    for name in options:
        choose(f"option of {method}", name, [*kind.arch(), "prunable", "dropout", "normalise"])
    wanted = kind(**{**kind.loose, **options})
    plan = BACKBONES[choose("backbone", backbone, BACKBONES)]
    arguments: dict[str, Any] = {
        "width": check_range("width", plan.width if width is None else width, 1),
        "num_classes": check_range("num_classes", num_classes, 1),
        "in_channels": check_range("in_channels", in_channels, 1),
    }
    if plan.dropout:
        arguments["dropout"] = check_range("dropout", dropout, 0.0, 1.0)
    elif dropout:
        raise UserError(f"dropout is for wide ResNets only; leave it at 0 for {backbone}.")
    build, made = plan.build, Layers(wanted, plan.stages, prunable)
    if normalise:
        build = mixed(Normalised, build)
        arguments |= dict(zip(("mean", "std"), normalise, strict=True))
    if wanted.conditional:
        encoder = None
        if wanted.film:  # before the layers, whose random numbers follow
            encoder = Encoder(wanted)
            made.code_dim = encoder.code_dim
        build = mixed(Conditional, build)
        arguments |= {"condition": made.condition, "method": wanted, "encoder": encoder}
    factories = {"conv": made.conv, "norm": made.norm, "linear": made.linear}
    model = build(*plan.arguments, **arguments, **factories)
    if wanted.masked:
        draw_masks(model, wanted)
    return model


@dataclass
class Layers:
    """The factories a backbone is built from: the layers that a method asks for, which share one
    condition. Where it asks for nothing they are the plain ones.
    """

    method: Any  # with the options of its class
    stages: int
    prunable: bool
    code_dim: int = 0
    condition: Condition = field(default_factory=Condition)

    def __post_init__(self) -> None:
        method = self.method
        self.alpha = method.alpha if method.noise else None
        self.slimmable = method.widths != (1.0,)
        self.pattern = "D" * self.stages
        if method.masked:
            self.pattern = masks.parse_pattern(method.pattern, self.stages)

    def has_paths(self, stage: int, site: str) -> bool:
        """Whether a convolution has a mask for each path."""
        sparse = stage > 0 and self.pattern[stage - 1] == "S"
        return sparse and (site != "shortcut" or self.method.mask_shortcuts)

    def conv(self, *shape: int, stage: int, site: str = "branch", **options: Any) -> nn.Conv2d:
        """A convolution with noise, masks and widths as asked for."""
        paths = self.has_paths(stage, site)
        if not (paths or self.alpha is not None or self.prunable or self.slimmable):
            return layers.conv(*shape, stage=stage, **options)
        own = self.noisy(not paths or self.method.noise_in_masked)
        own |= {"paths": paths, "prunable": self.prunable, "bias": False, **options}
        if self.slimmable:
            whole = "inputs" if stage == 0 else ""
            return SlimmableConv2d(*shape, slims=self.method.widths, whole=whole, **own)
        return Conv2d(*shape, **own)

    def norm(self, channels: int, *, site: str = "branch", **options: Any) -> nn.BatchNorm2d:
        """A batch norm with the branches and the modulation asked for."""
        code_dim = self.code_dim if site in ("stem", "branch") else 0
        dual = self.method.dual_bn
        own: dict[str, Any] = {"condition": self.condition, "code_dim": code_dim, "dual": dual}
        if self.slimmable:
            return SlimmableBatchNorm2d(channels, slims=self.method.widths, **own, **options)
        if code_dim or dual:
            return BatchNorm2d(channels, **own, **options)
        return layers.norm(channels, **options)

    def linear(self, *shape: Any, **options: Any) -> nn.Linear:
        """A linear layer with noise and widths as asked for."""
        own = self.noisy(self.method.noise_fc) | options
        if self.slimmable:
            return SlimmableLinear(*shape, slims=self.method.widths, whole="outputs", **own)
        return nn.Linear(*shape, **options) if own["alpha"] is None else Linear(*shape, **own)

    def noisy(self, wanted: bool) -> dict[str, Any]:
        """The arguments of a layer with noise, or without."""
        granularity = self.method.granularity if self.method.noise else "layer"
        alpha = self.alpha if wanted else None
        return {"condition": self.condition, "alpha": alpha, "granularity": granularity}


@functools.cache
def mixed(mixin: type, backbone: type) -> type:
    """The backbone's class with calls that take lam, or with normalised images."""
    return type(f"{mixin.__name__}{backbone.__name__}", (mixin, backbone), {})


def draw_masks(model: nn.Module, method: Any) -> None:
    """Draw the path masks of all sparse layers, after the weights so that these do not change."""
    seed = method.mask_seed
    generator = None if seed is None else torch.Generator("cpu").manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, Conv2d) and layer.mask_clean is not None:
            pair = masks.draw(
                layer.weight.shape, method.density, method.overlap, method.exact, generator
            )
            layer.mask_clean, layer.mask_adv = (mask.to(layer.weight.device) for mask in pair)
