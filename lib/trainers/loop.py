"""The one training loop: SGD over batches of an objective, resumable after every step.

Order of images and augmentation depend on (seed, epoch) alone, attack starts, lambda draws and
weight noise on (seed, epoch, step): a run that is resumed after any step continues bit for bit.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lib import data, parallel
from lib.attacks import pgd
from lib.attacks.loss import Classifier, Loss
from lib.device import autocast
from lib.errors import UserError
from lib.models.standing import Standing
from lib.recipe import Recipe
from lib.schedules import learning_rate
from lib.trainers.objectives import Context, objective
from lib.trainers.pruners import pruner

Row = dict[str, Any]


@contextmanager
def under_attack(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode without parameter gradients, and back."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    training = model.training
    model.eval()
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
        model.train(training)


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return SGD's groups: weight decay on everything, on the noise scales only if asked."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, p in model.named_parameters():
        (decayed if recipe.method.decays(name) else free).append(p)
    decay = recipe.train.weight_decay
    groups = [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class Trainer:
    """A network in training: `epoch()` trains one, `state()` and `restore()` carry it over."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        images: data.Images,
        precision: str,
        backend: str = "",
    ) -> None:
        """Take a network to train; backend is one of torch.compile, or none."""
        self.model, self.recipe, self.images, self.precision = model, recipe, images, precision
        self.device = images.images.device
        self.spec = data.spec(recipe.data.dataset)
        train = recipe.train
        self.batch = min(train.batch, len(images) - len(images) % 2)
        shares = 2 * parallel.size()  # of either half of a batch
        if parallel.size() > 1 and self.batch % shares:
            raise UserError(
                f"{parallel.size()} processes cannot share batches of {self.batch} images evenly; "
                f"choose train.batch as a multiple of {shares}."
            )
        self.pruner = pruner(model, recipe)  # before the optimiser, as it may add parameters
        self.pruner.begin(next(self._batches(0)))
        self.optimiser = torch.optim.SGD(
            parameter_groups(model, recipe),
            lr=train.lr,
            momentum=train.momentum,
            nesterov=train.nesterov and train.momentum > 0,
            fused=True,
        )
        self.objective = objective(recipe.method)
        self.network = torch.compile(model, dynamic=False, backend=backend) if backend else model
        self.standing = Standing(model, backend)
        self.history: list[Row] = []
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.step, self.spent = 0, 0.0  # steps and seconds behind the epoch that is under way
        self.total = torch.zeros((), device=self.device)  # of their losses

    @property
    def epochs_done(self) -> int:
        """Return how many epochs are behind this network."""
        return len(self.history)

    def _attack(
        self, generator: torch.Generator, f: Classifier, x: Tensor, y: Tensor, **loss: Loss
    ) -> Tensor:
        a = self.recipe.attack
        how: dict[str, Any] = {"random_start": a.random_start, "trusted": True, **loss}
        still = self.standing.still(f)
        with nullcontext() if still else under_attack(self.model):
            size = a.step or None
            return pgd(still or f, x, y, a.eps, size, a.steps, a.norm, generator=generator, **how)

    @property
    def steps_per_epoch(self) -> int:
        """Return how many steps an epoch has."""
        return max(1, len(self.images) // self.batch)

    def _batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        how: dict[str, Any] = {"seed": self.recipe.seed, "epoch": epoch, "first": first}
        if self.recipe.data.augment:
            how |= {"pad": self.spec.pad, "flip": self.spec.flip}
            how |= {"pad_mode": self.recipe.data.padding}
        return data.batches(self.images, self.batch, **how)

    def steps(self, epoch: int, first: int = 0) -> Iterator[Tensor]:
        """Take the steps of an epoch one by one from the first on, yielding the loss of each.

        Seeds torch's global generator; `epoch` keeps it and the history in order.
        """
        recipe = self.recipe
        starts, choices = torch.Generator(self.device), torch.Generator()
        context = Context(attack=partial(self._attack, starts), generator=choices, epoch=epoch)
        self.model.train()
        for i, (x, y) in enumerate(self._batches(epoch, first), first):
            x, y = parallel.share(x), parallel.share(y)
            seed = 3 * (recipe.seed * 1_000_000_007 + epoch * self.steps_per_epoch + i)
            torch.manual_seed(seed)  # weight noise and dropout
            starts.manual_seed((seed + 1) ^ parallel.rank() << 50)
            choices.manual_seed(seed + 2)
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(recipe.train, epoch + i / self.steps_per_epoch)
            with autocast(self.precision):
                loss = self.objective(self.network, x, y, context)
            loss = loss + self.pruner.penalty()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            loss = parallel.average(self.model, loss)
            self.optimiser.step()
            self.pruner.after_step()
            yield loss.detach()

    def epoch(self, on_step: Callable[[float], None] = lambda done: None) -> Row:
        """Train what is left of an epoch and return its row of the history.

        on_step gets the share done after every step, when `state` may be taken.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            return self._epoch(on_step)

    def _epoch(self, on_step: Callable[[float], None]) -> Row:
        start, epoch = time.perf_counter() - self.spent, self.epochs_done
        steps = self.steps_per_epoch
        for loss in self.steps(epoch, self.step):
            self.total += loss
            self.step += 1
            self.spent = time.perf_counter() - start
            on_step(self.step / steps)
        self.pruner.after_epoch(epoch, self._momentum)
        mean = float(self.total) / steps
        if not math.isfinite(mean):
            raise UserError(
                f"Training diverged in epoch {epoch + 1} (loss {mean}); lower train.lr and rerun."
            )
        row = {
            "epoch": epoch + 1,
            "lr": self.optimiser.param_groups[0]["lr"],
            "loss": mean,
            "seconds": round(time.perf_counter() - start, 3),
            **self.pruner.row(),
        }
        self.history.append(row)
        self._begin_epoch()
        return row

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.optimiser.state[parameter]
        return state.get("momentum_buffer", torch.zeros_like(parameter))

    def state(self) -> dict[str, Any]:
        """Return everything a later process needs to go on, as plain containers and tensors."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
            "pruner": self.pruner.state(),
            "step": self.step,
            "spent": self.spent,
            "total": self.total,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.history = list(state["history"])
        self.step, self.spent = state["step"], state["spent"]
        self.total = state["total"].clone()
        self.pruner.restore(state["pruner"])
