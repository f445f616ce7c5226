"""Training steps as one CUDA graph: a GPU gets a step at once, not kernel by kernel.

A step with its attack is some thousand kernels, which a host takes longer to start than a GPU to
compute. After WARM steps as usual, images to gradients are recorded once and played for each batch
that follows. Before, images, seeds and the trade-offs that OAT draws are set; SGD steps after.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lib import data, parallel
from lib.device import GRAPH, autocast
from lib.errors import UserError
from lib.methods import Msd, Oat
from lib.recipe import Recipe
from lib.schedules import learning_rate
from lib.trainers import objectives
from lib.trainers.attackers import trainer_of
from lib.trainers.loop import Trainer
from lib.trainers.objectives import Context

WARM = 2  # steps in which libraries set themselves up, which cannot be recorded


def make(
    recipe: Recipe, model: nn.Module, images: data.Images, precision: str, backend: str = ""
) -> Trainer:
    """Return what trains a network by a recipe; backend is GRAPH, one of torch.compile, or ''."""
    kind = trainer_of(recipe.method)
    # Processes wait for each other in a step, and of MSD's draws a graph would keep the first
    if backend != GRAPH or parallel.size() > 1 or isinstance(recipe.method, Msd):
        return kind(model, recipe, images, precision, "" if backend == GRAPH else backend)
    return type("Graphed", (Graphed, kind), {})(model, recipe, images, precision)


def record(step: Callable[[], Tensor], draws: torch.Generator) -> tuple[Callable[[], None], Tensor]:
    """Record a step that draws from a generator of its own, too; return its replay and result."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(draws)
    try:
        with torch.cuda.graph(graph):
            result = step()
    except RuntimeError as error:
        said = f"This training's steps cannot be recorded on the GPU ({error})"
        raise UserError(f"{said}; run it again with SUITE_COMPILE= before the command.") from error
    return graph.replay, result


class Graphed(Trainer):
    """A trainer whose steps are recorded; every one computes what a step of `Trainer` does."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.starts, self.choices = torch.Generator(self.device), torch.Generator()
        method = self.recipe.method
        self.drawn = Drawn(self.model, method, self.batch) if isinstance(method, Oat) else None
        self.phase: Any = None  # of the training that the recorded step is for
        self._forget()

    def _forget(self) -> None:
        self.taken = 0
        self.replay: Callable[[], None] | None = None
        self.optimiser.zero_grad(set_to_none=True)  # gradients lie where the graph has them

    def steps(self, epoch: int, first: int = 0) -> Iterator[Tensor]:
        """Take the steps of an epoch as `Trainer.steps` does."""
        recipe = self.recipe
        # Objectives may begin with clean epochs, and pruners may replace masks after an epoch
        phase = epoch if recipe.sparsity else epoch < getattr(recipe.method, "clean_epochs", 0)
        if phase != self.phase:
            self.phase = phase
            self._forget()
        context = Context(partial(self._attack, self.starts), self.choices, epoch)
        self.model.train()
        for i, batch in enumerate(self._batches(epoch, first), first):
            seed = 3 * (recipe.seed * 1_000_000_007 + epoch * self.steps_per_epoch + i)
            torch.manual_seed(seed)
            self.starts.manual_seed(seed + 1)
            self.choices.manual_seed(seed + 2)
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(recipe.train, epoch + i / self.steps_per_epoch)
            loss = self._gradients(context, *batch)
            self.optimiser.step()
            self.pruner.after_step()
            yield loss

    def _gradients(self, context: Context, *batch: Tensor) -> Tensor:
        """Return the loss of a batch, with its gradients where parameters have theirs."""
        self.taken += 1
        if self.taken <= WARM:
            return self._step(context, *batch)
        if self.replay is None:
            self.given = [part.clone() for part in batch]
            step = partial(self._recorded, context, *self.given)
            self.replay, self.loss = record(step, self.starts)
        for kept, part in zip(self.given, batch, strict=True):
            kept.copy_(part)
        if self.drawn:
            self.drawn.draw(self.choices)
        self.replay()
        return self.loss.clone()

    def _recorded(self, *given: Any) -> Tensor:
        with self.drawn.given() if self.drawn else nullcontext():
            return self._step(*given)

    def _step(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        with autocast(self.precision):
            loss = self.objective(self.network, x, y, context)
        loss = loss + self.pruner.penalty()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()


class Drawn:
    """The trade-offs of OAT's steps, with their codes, at the same place in every step."""

    def __init__(self, model: nn.Module, method: Oat, batch: int) -> None:
        """Draw some once, for each width as the objective does."""
        self.encoder: Any = model.encoder
        self.method, self.batch = method, batch
        self.kept = [(one.clone(), code.clone()) for one, code in self._new(torch.Generator())]

    def _new(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        place = self.encoder.values.device
        for _ in self.method.widths:
            lams = objectives.sample_lambdas(self.method.lambdas, self.batch, generator)
            yield lams.to(place, non_blocking=True), self.encoder.encode_each(lams)[0]

    def draw(self, generator: torch.Generator) -> None:
        """Replace them by the next."""
        for kept, new in zip(self.kept, self._new(generator), strict=True):
            for old, fresh in zip(kept, new, strict=True):
                old.copy_(fresh)

    @contextmanager
    def given(self) -> Iterator[None]:
        """Let an objective that draws, and the network that encodes, get these."""
        waiting, codes = iter(self.kept), self.kept[0][1]

        def sample(lambdas: tuple[float, ...], batch: int, generator: torch.Generator) -> Tensor:
            nonlocal codes
            values, codes = next(waiting)
            lams = plain(lambdas, batch, torch.Generator())  # of these only the zeros count
            lams.to = lambda *place, **how: values  # type: ignore[method-assign]
            return lams

        def encode(lam: Tensor) -> tuple[Tensor, int]:
            return codes[len(codes) - len(lam) :], int((lam == 0).sum())

        plain = objectives.sample_lambdas
        objectives.sample_lambdas, self.encoder.encode_each = sample, encode
        try:
            yield
        finally:
            objectives.sample_lambdas = plain
            del self.encoder.encode_each
