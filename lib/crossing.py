"""Attacks made on one function of a network and scored by others.

One set of weights is several functions: of each trade-off, with the noise of the weights or
without. An attacker may know another of them than the one that is deployed.
"""

import copy
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from lib import anatomy, data, device, evaluate, progress, runs, scoring, source
from lib.errors import UserError
from lib.measure import accuracy_row
from lib.models import Conditional, classifier
from lib.models.conditional_layers import BatchNorm2d
from lib.models.depthwise import equivalents
from lib.models.standing import Standing
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.scoring import ATTACKS, Classifier, stream
from lib.study import Job, Study
from lib.trainers import under_attack

RENEWED, TURNS = 1_000, 2  # training images that give new statistics, and how often in turn


@dataclass(frozen=True)
class View:
    """One function of a conditional network: its trade-off, and what is changed.

    quiet leaves out the noise of the weights. renewed takes the statistics of the adversarial
    batch norms from attacked training images.
    """

    lam: float
    quiet: bool = False
    renewed: bool = False


Makers = Mapping[str, tuple[View, ...]]  # mean logits of several are attacked; of none nothing
Judges = Mapping[str, View]


def measured(
    study: Study, job: Job, run: runs.Run, protocol: Protocol, makers: Makers, judges: Judges
) -> list[dict[str, Any]]:
    """Return rows of metrics.csv: the accuracy of each judge on what was made for each maker.

    The protocol says how images are attacked; its trade-off does not count. The metric is
    'crossed_acc', as a network may be attacked otherwise than scored; detail is 'MAKER > JUDGE'.
    What was found is kept beside the run.
    """
    if protocol.attack == "autoattack":
        raise UserError("AutoAttack's program judges what it attacks; cross an attack by PGD.")
    code = scoring.code_fingerprint(run.recipe, protocol)
    images = data.folder_fingerprint(run.recipe.data.dataset, protocol.split, protocol.images)
    asked = repr((replace(protocol, lam=0.0).key, {**makers}, {**judges}, images))
    digest = hashlib.sha256(asked.encode()).hexdigest()[:16]
    look = partial(scored, run.recipe, protocol, makers, judges)
    here = {"code": source.used(scored, ATTACKS["pgd"], code)}
    rows = []
    for detail, found in anatomy.recorded(run, f"crossed-{digest}", look, here)["found"].items():
        maker, judge = detail.split(" > ")
        row = accuracy_row(study, job, replace(protocol, lam=judges[judge].lam), found)
        row["attack"] = row["attack"] if makers[maker] else "none"
        rows.append(row | {"metric": "crossed_acc", "detail": detail})
    return rows


def scored(
    recipe: Recipe, protocol: Protocol, makers: Makers, judges: Judges, model: nn.Module
) -> dict[str, Any]:
    """Return what each judge finds. Batches and draws are those of `scoring.correct`, which finds
    the same where one function makes and judges; all judges of an attack meet the same draws.
    """
    place, model = device.device(), equivalents(model)
    images = data.load(recipe.data.dataset, protocol.split, protocol.images, place)
    views = dict.fromkeys([*(v for of in makers.values() for v in of), *judges.values()])
    seen = {view: function(model, recipe, protocol, view) for view in views}
    draws = {v: 1 if v.quiet else replace(protocol, lam=v.lam).draws(recipe.method) for v in views}
    devices = [place] if place.type == "cuda" else []
    size, hits = scoring.batch_size(model, images, protocol), defaultdict[str, list[Tensor]](list)
    with (
        progress.task(f"{recipe.method.label}, {protocol.name}, crossed") as report,
        torch.random.fork_rng(devices=devices),
        under_attack(model),
    ):
        for index, (x, y) in enumerate(data.in_order(images, size)):
            seed = stream("attack", protocol.seed, index)
            for maker, of in makers.items():
                torch.manual_seed(stream("weight noise", protocol.seed, index))
                f, attack = partial(_mean, [seen[v] for v in of]), protocol.attack if of else "none"
                adv = ATTACKS[attack](f, x, y, protocol, seed, lambda done: None)
                for judge, view in judges.items():
                    with torch.random.fork_rng(devices=devices), torch.no_grad():
                        right = [seen[view](adv).argmax(1) == y for _ in range(draws[view])]
                    hits[f"{maker} > {judge}"].append(torch.stack(right).cpu())
            report(min(1.0, (index + 1) * size / len(images)))
    whole = {name: torch.cat(parts, 1) for name, parts in hits.items()}
    bits = {name: {"bits": evaluate.pack(right), "n": len(images)} for name, right in whole.items()}
    return {"found": {n: bits[n] | {"correct": int(right.sum())} for n, right in whole.items()}}


def _mean(functions: list[Classifier], x: Tensor) -> Tensor:
    return sum(f(x) for f in functions) / len(functions)  # type: ignore[return-value]


def function(model: nn.Module, recipe: Recipe, protocol: Protocol, view: View) -> Classifier:
    """Return the function of images that a view stands for."""
    if view.renewed:
        model = renewed(model, recipe, view.lam)
    if not view.quiet or not isinstance(model, Conditional):
        return scoring.function(model, replace(protocol, lam=view.lam))
    silence = next(model.parameters()).detach().new_zeros(model.noise_size)
    f = classifier(model, view.lam, slim=protocol.slim, noise=silence)
    return Standing(model).still(f) or f


def renewed(model: nn.Module, recipe: Recipe, lam: float) -> nn.Module:
    """Return a copy whose adversarial batch norms hold what attacked training images have at lam.

    No weight changes. The attack is that of the training, on the network as it then is.
    """
    model, part, a = copy.deepcopy(model), recipe.data, recipe.attack
    protocol = Protocol(lam, "pgd", a.eps, a.steps, a.step, a.norm, a.random_start)
    shown = data.load(part.dataset, part.split, part.train_images, device.device())
    size = min(recipe.train.batch, len(shown))
    norms = [m.adv for m in model.modules() if isinstance(m, BatchNorm2d) and m.adv is not None]
    with torch.random.fork_rng():
        for turn in range(TURNS):
            torch.manual_seed(stream("renewal", recipe.seed, turn))
            f, attacked = scoring.function(model, protocol), []
            batches = data.batches(shown, size, seed=recipe.seed, epoch=turn)
            for index, (x, y) in enumerate(islice(batches, max(1, RENEWED // size))):
                seed = stream(f"renewal {turn}", recipe.seed, index)
                attacked.append(ATTACKS["pgd"](f, x, y, protocol, seed, lambda done: None))
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # all batches count alike
            model.train()
            with torch.no_grad():
                for x in attacked:
                    model(x, lam=lam)
            model.eval()
    return model
