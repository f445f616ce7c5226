"""The rows of metrics.csv, one for each number of a figure or table. No torch.

detail tells rows of one metric apart that no other column does: a layer, a channel, a machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from lib.recipe import Recipe

if TYPE_CHECKING:
    from lib.study import Study

Row = dict[str, Any]
COLUMNS = [
    *("paper", "artifact", "dataset", "backbone", "method", "seed", "lam", "attack"),
    *("metric", "detail", "value", "ci_low", "ci_high", "n"),
]
# Of accuracies in memory: the trained network, what was made of it, which images were right, doubts
HIDDEN = ["run", "made", "bits", "flags"]


def row(study: Study, recipe: Recipe | None = None, **values: Any) -> Row:
    """Return one row with the columns that the study and a recipe decide filled in."""
    out: Row = dict.fromkeys((*COLUMNS, *HIDDEN))
    out |= {"paper": study.paper, "artifact": study.name}
    if recipe:
        width = f"-{recipe.model.width}" if recipe.model.width else ""
        out |= {"dataset": recipe.data.dataset, "backbone": recipe.model.backbone + width}
        out |= {"seed": recipe.seed}
    return out | values


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows as a tidy frame in the order of COLUMNS, then HIDDEN."""
    return pd.DataFrame(list(rows), columns=[*COLUMNS, *HIDDEN])
