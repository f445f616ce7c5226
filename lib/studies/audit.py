"""The audit: published counts recomputed, and what lies behind the robust accuracies of SMART."""

from dataclasses import replace

from lib.studies import smart
from lib.study import Builder, plan

LOOPS = {"Algorithm 1": "alg1", "released loop": "released"}  # of training, by what labels say


@plan("audit/published_numbers")
def published_numbers(b: Builder) -> None:
    """Plan the recomputation of every figure that follows from others; it trains nothing."""


@plan("audit/observations")
def observations(b: Builder) -> None:
    """Plan SMART's Table 1 under the paper's Algorithm 1 and under the released training loop."""
    b.refuse("method.pattern", "method.overlap", "method.loop")
    for setting, seed in b.settings():
        for loop, code in LOOPS.items():
            for label, method in smart.MASKS.items():
                recipe = b.recipe(setting, seed, replace(method, loop=code))
                b.add(f"{label}, {loop}", recipe, (0.0, 1.0), [smart.PGD7])


@plan("audit/cross_path")
def cross_path(b: Builder) -> None:
    """Plan OAT, FLOAT and SMART at every trade-off, attacked as they are scored."""
    for setting, seed in b.settings():
        for label, method in smart.METHODS.items():
            b.add(label, b.recipe(setting, seed, method), smart.LAMBDAS, [smart.PGD7])
