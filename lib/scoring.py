"""How a network is scored: clean or attacked images, right or wrong for each.

The attack always differentiates exactly the function that is scored: the same lam, path, batch norm
and noise policy. Nothing of the network is changed.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lib import data, source
from lib.attacks import NORMS, autoattack, fgsm, pgd
from lib.method import Method
from lib.models import BACKBONES, Conditional, classifier, create
from lib.models.standing import Affine, Standing
from lib.protocol import Protocol
from lib.recipe import Model, Recipe
from lib.trainers import under_attack

Classifier = Callable[[Tensor], Tensor]
OnStep = Callable[[float], None]
BATCH = 100  # images that share a draw of weight noise
LIMITS = {"cpu": 1e8, "cuda": 2e9}  # of what layers put out at once for networks without noise


def stream(purpose: str, seed: int, batch: int = 0) -> int:
    """Return the seed of one purpose in one batch, so that all of them draw independently."""
    text = f"{purpose} {seed} {batch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def function(model: nn.Module, protocol: Protocol) -> Classifier:
    """Return the function of images that the protocol attacks and scores: one lam, one policy.

    A slimming factor is refused for a network that has one width.
    """
    options: dict[str, Any] = {}
    if protocol.threshold:
        options["threshold"] = protocol.threshold
    if protocol.noise == "frozen" and isinstance(model, Conditional):
        place = next(model.parameters()).device
        seed = stream("frozen noise", protocol.seed)
        options["noise"] = model.draw_noise(torch.Generator(place).manual_seed(seed))
    f = classifier(model, protocol.lam, slim=protocol.slim, **options)
    return Standing(model).still(f) or f


def batch_size(model: nn.Module, images: data.Images, protocol: Protocol) -> int:
    """Return how many images are attacked together, the same for a network on any CPU.

    A draw of weight noise is for BATCH images, and AutoAttack takes so long for them that it should
    not lose more; else as many as fit in the fastest memory on a CPU, and keep a GPU busy.
    """
    method = getattr(model, "method", None)
    if (method is not None and method.noise) or protocol.attack == "autoattack":
        return BATCH
    channels = sum(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    outputs = max(1, channels) * images.images[0, ..., 0].numel()
    return max(BATCH, int(LIMITS[images.images.device.type] / outputs))


def _clean(f: Classifier, x: Tensor, y: Tensor, p: Protocol, seed: int, on_step: OnStep) -> Tensor:
    return x


def _fgsm(f: Classifier, x: Tensor, y: Tensor, p: Protocol, seed: int, on_step: OnStep) -> Tensor:
    generator = torch.Generator(x.device).manual_seed(seed)
    return fgsm(f, x, y, p.eps, eot=p.eot, generator=generator)


def _pgd(f: Classifier, x: Tensor, y: Tensor, p: Protocol, seed: int, on_step: OnStep) -> Tensor:
    names = ("steps", "norm", "random_start", "restarts", "eot")
    settings = {name: getattr(p, name) for name in names}
    generator = torch.Generator(x.device).manual_seed(seed)
    return pgd(f, x, y, p.eps, p.used_step, **settings, generator=generator)


def _aa(f: Classifier, x: Tensor, y: Tensor, p: Protocol, seed: int, on_step: OnStep) -> Any:
    names = ("version", "norm", "steps", "eot", "queries")
    settings = {name: getattr(p, name) for name in names}
    adv, broken = autoattack(f, x, y, p.eps, seed=seed, on_step=on_step, **settings)
    return adv if p.version == "rand-all" else ~broken


# each returns what it makes of images x (N, C, H, W) in [0, 1], or which of them withstood it (N,)
Attacked = Callable[[Classifier, Tensor, Tensor, Protocol, int, OnStep], Tensor]
ATTACKS: dict[str, Attacked] = {"none": _clean, "fgsm": _fgsm, "pgd": _pgd, "autoattack": _aa}


def correct(
    model: nn.Module,
    images: data.Images,
    protocol: Protocol,
    on_step: OnStep = lambda done: None,
    found: Tensor | None = None,
    on_batch: Callable[[Tensor], None] = lambda found: None,
) -> Tensor:
    """Return (draws, N) booleans: in which draw which images are still classified correctly.

    There is one draw but for networks that draw weight noise in every pass; AutoAttack's program
    says itself which images withstood it. Attack and scoring are in float32, whatever the training
    used: in bfloat16 logits tie. Each batch of images meets draws of its own. Draws depend on the
    protocol's seed and the place of the batch alone: from `found`, which is what `on_batch` got in
    an earlier call, the same result follows. on_step gets the share done, also within a batch where
    the attack tells it.
    """
    place = images.images.device
    times = protocol.draws(getattr(model, "method", None))
    size = batch_size(model, images, protocol)
    done = torch.zeros(times, 0, dtype=torch.bool) if found is None else found
    if done.shape[1] < len(images):
        done = done[:, : done.shape[1] // size * size]  # whole batches count
    f, attack = function(model, protocol), ATTACKS[protocol.attack]
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), under_attack(model):
        for index, (x, y) in enumerate(data.in_order(images, size)):
            start = index * size
            if start < done.shape[1]:
                continue

            def within(share: float, start: int = start, size: int = len(x)) -> None:
                on_step((start + share * size) / len(images))

            torch.manual_seed(stream("weight noise", protocol.seed, index))
            seed = stream("attack", protocol.seed, index)
            hits = attack(f, x, y, protocol, seed, within)
            if hits.dtype != torch.bool:
                with torch.no_grad():
                    hits = torch.stack([f(hits).argmax(1) == y for _ in range(times)])
            done = torch.cat([done, hits.view(times, -1).cpu()], 1)
            on_batch(done)
            within(1.0)
    return done


@cache
def narrow(model: Model, method: Method, prunable: bool) -> nn.Module:
    """Return a narrow copy of a recipe's network, quickly made; refuse what no backbone can be.

    Whether every slim factor leaves whole channels depends on the width itself.
    """
    width = (model.width or None) if len(method.widths) > 1 else 1
    options = method.options() | {"dropout": model.dropout, "prunable": prunable}
    with torch.random.fork_rng(devices=[]):
        return create(method.kind, model.backbone, width=width, **options)


@cache
def network_code(model: Model, method: Method, prunable: bool) -> tuple[Any, ...]:
    """Return what a network is made of, for `source.used`."""
    found = narrow(model, method, prunable)
    states = [(name, tuple(t.shape)) for name, t in found.state_dict().items()]
    width = model.width or BACKBONES[model.backbone].width
    return create, Affine, *{type(layer) for layer in found.modules()}, str((width, states))


def code_fingerprint(recipe: Recipe, protocol: Protocol) -> str:
    """Return a hash of the code that decides what a protocol comes to, given the weights."""
    attack: tuple[Any, ...] = (ATTACKS[protocol.attack], protocol.draws(recipe.method))
    if protocol.attack != "none":
        attack += (NORMS[protocol.norm], str(protocol.used_step))
    network = network_code(recipe.model, recipe.method, recipe.sparsity is not None)
    return source.used(correct, data.Images, attack, network)
