"""Where methods meet backbones: which layers a method asks the backbone to be built from."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lib.errors import UserError, check_range, check_set, choose
from lib.models import layers, masks
from lib.models.conditional import Conditional
from lib.models.conditional_layers import BatchNorm2d, Condition, Conv2d, Linear
from lib.models.encoding import ENCODINGS, Encoder
from lib.models.layers import ConvFactory
from lib.models.resnet import BasicBlock, Bottleneck, ResNet
from lib.models.slimmable import SlimmableBatchNorm2d, SlimmableConv2d, SlimmableLinear
from lib.models.wide_resnet import WideResNet


@dataclass(frozen=True)
class Backbone:
    """How a network is built; `stages` is what a mask pattern has letters for."""

    build: type
    arguments: tuple[Any, ...]
    width: int
    stages: int


BACKBONES = {
    "resnet18": Backbone(ResNet, (BasicBlock, (2, 2, 2, 2)), 64, 4),
    "resnet20": Backbone(ResNet, (BasicBlock, (3, 3, 3)), 16, 3),
    "resnet34": Backbone(ResNet, (BasicBlock, (3, 4, 6, 3)), 64, 4),
    "resnet50": Backbone(ResNet, (Bottleneck, (3, 4, 6, 3)), 64, 4),
    "wrn16_8": Backbone(WideResNet, (16, 8), 16, 3),
    "wrn28_4": Backbone(WideResNet, (28, 4), 16, 3),
    "wrn40_2": Backbone(WideResNet, (40, 2), 16, 3),
}


@dataclass(frozen=True)
class Method:
    """What a method adds: `options` with their defaults are the caller's, `fixed` are not."""

    options: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)


NEUTRAL = {
    "prunable": False,
    "dropout": 0.0,
    "noise": False,
    "noise_fc": False,
    "alpha": 0.25,
    "granularity": "layer",
    "dual_bn": False,
    "film": False,
    "masked": False,
    "slims": (1.0,),
}
COMMON = ("prunable", "dropout")
FLOAT = {"alpha": 0.25, "granularity": "layer", "noise": True, "noise_fc": False, "dual_bn": True}
OAT = {
    "lambdas": (0.0, 0.2, 0.7, 1.0),
    "encoding": "orthogonal",
    "code_dim": 128,
    "dual_bn": True,
}
SLIMS = {"slims": (0.5, 1.0)}
METHODS = {
    "plain": Method(),
    "pgd_at": Method(),
    "pni": Method({"alpha": 0.25, "granularity": "layer", "noise_fc": True}, {"noise": True}),
    "oat": Method(OAT, {"film": True}),
    "oat_slim": Method(OAT | SLIMS, {"film": True}),
    "float": Method(FLOAT),
    "float_slim": Method(FLOAT | SLIMS),
    "smart": Method(
        {
            **FLOAT,
            "pattern": None,
            "density": 0.5,
            "overlap": 0.25,
            "exact": False,
            "mask_shortcuts": False,
            "noise_in_masked": True,
            "mask_seed": None,
        },
        {"masked": True},
    ),
}


def create(
    method: str,
    backbone: str,
    num_classes: int = 10,
    in_channels: int = 3,
    width: int | None = None,
    **options: Any,
) -> nn.Module:
    """Return a freshly initialised network for images of 8x8 and larger, in [0, 1].

    METHODS lists the options of each method and BACKBONES the default widths. Plain and PGD-AT
    networks consist of torch's own layers; the others are Conditional and take lam. The slims of
    float_slim and oat_slim are the shares of the channels, 1 among them, that a call may ask for;
    each must leave every layer a whole number of channels.
    """
    wanted = settings(choose("method", method, METHODS), options)
    plan = BACKBONES[choose("backbone", backbone, BACKBONES)]
    arguments: dict[str, Any] = {
        "width": check_range("width", plan.width if width is None else width, 1),
        "num_classes": check_range("num_classes", num_classes, 1),
        "in_channels": check_range("in_channels", in_channels, 1),
    }
    if plan.build is WideResNet:
        arguments["dropout"] = check_range("dropout", wanted["dropout"], 0.0, 1.0)
    elif wanted["dropout"]:
        raise UserError(f"dropout is for wide ResNets only; leave it at 0 for {backbone}.")
    if method in ("plain", "pgd_at"):
        if wanted["prunable"]:
            arguments["conv"] = functools.partial(prunable_conv, Condition())
        return plan.build(*plan.arguments, **arguments)
    return conditional(method, plan, wanted, arguments)


def settings(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a method with the caller's values in place, checked."""
    allowed = METHODS[method].options
    for name in options:
        choose(f"option of {method}", name, [*allowed, *COMMON])
    wanted = {**NEUTRAL, **allowed, **METHODS[method].fixed, **options}
    choose("granularity", wanted["granularity"], ("layer", "channel", "element"))
    if wanted["film"]:
        choose("encoding", wanted["encoding"], ENCODINGS)
    if wanted["masked"]:
        masks.check_masks(wanted["density"], wanted["overlap"])
    check_set("slims", wanted["slims"], 1e-6, 1.0, needed=1.0)
    return wanted


def conditional(
    method: str, plan: Backbone, wanted: dict[str, Any], arguments: dict[str, Any]
) -> nn.Module:
    """Build the backbone from conditional layers that share one condition."""
    condition = Condition()
    encoder = None
    if wanted["film"]:
        encoder = Encoder(wanted["lambdas"], wanted["encoding"], wanted["code_dim"])
    pattern = "D" * plan.stages
    if wanted["masked"]:
        pattern = masks.parse_pattern(wanted["pattern"], plan.stages)
    alpha = wanted["alpha"] if wanted["noise"] else None
    slims = tuple(wanted["slims"])
    slimmable = slims != (1.0,)

    def conv(*shape: int, stage: int, site: str, **options: Any) -> nn.Conv2d:
        paths = stage > 0 and pattern[stage - 1] == "S"
        paths = paths and (site != "shortcut" or wanted["mask_shortcuts"])
        noiseless = paths and not wanted["noise_in_masked"]
        if not (paths or alpha is not None or wanted["prunable"] or slimmable):
            return layers.conv(*shape, stage=stage, site=site, **options)
        build: ConvFactory = Conv2d
        if slimmable:
            build = functools.partial(SlimmableConv2d, slims=slims, image_inputs=stage == 0)
        return build(
            *shape,
            condition=condition,
            alpha=None if noiseless else alpha,
            granularity=wanted["granularity"],
            paths=paths,
            prunable=wanted["prunable"],
            bias=False,
            **options,
        )

    def norm(channels: int, *, site: str) -> nn.BatchNorm2d:
        code_dim = encoder.code_dim if encoder and site in ("stem", "branch") else 0
        own = {"condition": condition, "dual": wanted["dual_bn"], "code_dim": code_dim}
        if slimmable:
            return SlimmableBatchNorm2d(channels, slims=slims, **own)
        if code_dim or wanted["dual_bn"]:
            return BatchNorm2d(channels, **own)
        return layers.norm(channels, site=site)

    def linear(in_features: int, out_features: int) -> nn.Linear:
        noisy = wanted["noise_fc"] and alpha is not None
        if not (noisy or slimmable):
            return layers.linear(in_features, out_features)
        build = SlimmableLinear if slimmable else Linear
        return build(
            in_features,
            out_features,
            condition=condition,
            alpha=alpha if noisy else None,
            granularity=wanted["granularity"],
        )

    model = conditional_class(plan.build)(
        *plan.arguments,
        **arguments,
        conv=conv,
        norm=norm,
        linear=linear,
        condition=condition,
        method=method,
        default_lam=1.0 if method == "pni" else 0.0,
        encoder=encoder,
        slims=slims,
    )
    if wanted["masked"]:
        draw_masks(model, wanted)
    return model


@functools.cache
def conditional_class(backbone: type) -> type:
    """The backbone's class with calls that take lam."""
    return type(f"Conditional{backbone.__name__}", (Conditional, backbone), {})


def draw_masks(model: nn.Module, wanted: Mapping[str, Any]) -> None:
    """Draw the path masks of all sparse layers, after the weights so that these do not change."""
    seed = wanted["mask_seed"]
    generator = None if seed is None else torch.Generator("cpu").manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, Conv2d) and layer.mask_clean is not None:
            pair = masks.draw(
                layer.weight.shape, wanted["density"], wanted["overlap"], wanted["exact"], generator
            )
            layer.mask_clean, layer.mask_adv = (mask.to(layer.weight.device) for mask in pair)


def prunable_conv(
    condition: Condition, *shape: int, stage: int, site: str, **options: Any
) -> nn.Conv2d:
    """A convolution with a pruning mask and nothing else."""
    return Conv2d(*shape, condition=condition, prunable=True, bias=False, **options)
