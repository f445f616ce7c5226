"""What one job does: train a network and measure it, with one share of progress for everything."""

from collections.abc import Callable, Sequence

from lib import evaluate, progress, runs
from lib.batch import effort
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.runs import Run


def work(recipe: Recipe, protocols: Sequence[Protocol], label: str, fresh: bool = False) -> Run:
    """Return the finished run of a recipe, trained and evaluated where that is missing."""
    parts = [effort.training(recipe), *(effort.evaluation(recipe, p) for p in protocols)]
    total, done = sum(parts) or 1.0, 0.0

    def within(report: Callable[[float], None], part: float) -> Callable[[float], None]:
        start = done
        return lambda share: report((start + share * part) / total)

    with progress.task(label) as report:
        run = runs.fit(recipe, within(report, parts[0]), fresh)
        done = parts[0]
        for protocol, part in zip(protocols, parts[1:], strict=True):
            evaluate.evaluate(run, protocol, within(report, part))
            done += part
    return run
