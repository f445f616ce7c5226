"""The numbers that the papers print, transcribed in data/reference."""

import pandas as pd

from lib import paths
from lib.errors import choose


def names() -> list[str]:
    """Return the tables there are, as 'PAPER/TABLE'."""
    files = sorted(f for f in paths.REFERENCE.glob("*/*.csv") if f.stem != "claims")
    return [f.relative_to(paths.REFERENCE).with_suffix("").as_posix() for f in files]


def read(name: str) -> pd.DataFrame:
    """Return the published numbers of an artifact."""
    return pd.read_csv(paths.REFERENCE / f"{choose('reference table', name, names())}.csv")


def text(paper: str) -> dict[str, float]:
    """Return the numbers in a paper's running text by key; `read` tells where they stand."""
    frame = read(f"{paper}/text")
    return dict(zip(frame["key"], frame["value"].astype(float), strict=True))
