"""What the bench measures of the whole, in temporary folders: batch and store."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from torch import nn

from lib import device, networks, paths, runs, timing
from lib.bench import Call, Group, Makers, Places, Rate
from lib.errors import UserError
from lib.methods import Float
from lib.models import create
from lib.recipe import Attack, Data, Model, Recipe, Train
from lib.studies import ARTIFACTS, artifact


def folder(places: Places) -> Path:
    """Return a folder that is there until the group is done."""
    folder = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
    return Path(places.enter_context(folder))


def _batch(makers: Makers, places: Places, rounds: int, tick: Call) -> pd.DataFrame:
    """Time the batch by turns on an empty store, again, and with two jobs; training also alone.

    Training begins when the first job is there and ends with the last evaluation; what notebooks
    measure afterwards is named otherwise.
    """
    rows: list[tuple[int, str, float]] = []
    sizes = {name: len(artifact(name)("quick", (0, 1), {}).recipes) for name in ARTIFACTS}
    example = min(filter(sizes.get, sizes), key=lambda name: sizes[name])
    words = [sys.executable, "-m", "lib", "run", example, "--preset", "quick", "--seeds", "0,1"]
    env = {k: v for k, v in os.environ.items() if k != "SUITE_RECORD"}
    env |= {"PYTHONPATH": str(paths.ROOT)}

    def lib(label: str, home: Path, jobs: str) -> None:
        begin = time.perf_counter()
        done = subprocess.run(
            [*words, "--jobs", jobs],
            cwd=paths.ROOT,
            env=env | {"SUITE_RESULTS": str(home)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise UserError(f"The batch of {example} failed: {done.stderr.strip()[-300:]}")
        rows.append((number, label, time.perf_counter() - begin))
        jobs_at = [path.stat().st_mtime for path in home.glob("runs/.jobs/*.json")]
        ends = [path.stat().st_mtime for path in home.glob("runs/*/evaluations/[0-9a-f]*.json")]
        rows.append((number, f"{label}, training", max(ends) - min(jobs_at)))
        tick()

    for number in range(rounds):  # noqa: B007
        one = folder(places)
        lib("cold", one, "1")
        lib("warm", one, "1")
        lib("two", folder(places), "2")
    return pd.DataFrame(rows, columns=timing.COLUMNS)


def batch() -> Group:
    """The batch of the artifact of fewest networks, but some, at preset quick for two seeds."""
    rows = {
        "batch/cold": Rate("s", "cold"),
        "batch/warm": Rate("s", "warm", "cold"),
        "batch/jobs2": Rate("s", "two, training", "cold, training"),
    }
    return Group(rows, {}, 3, 240, _batch)


def store() -> Group:
    """A finished network out of the store, hashes checked, against a plain file of weights."""
    recipe = Recipe(
        Data("digits", train_images=64),
        Model("resnet18", 16),
        Float(),
        Train(epochs=1, batch=32),
        Attack(eps=0.25, steps=1),
    )

    def ours(places: Places) -> Call:
        places.enter_context(mock.patch.object(paths, "RESULTS", folder(places)))
        runs.fit(recipe)
        return lambda: found.model() if (found := runs.load(recipe)) else None

    def theirs(places: Places) -> Call:
        path = folder(places) / "weights.pt"
        torch.save(networks.fresh(recipe).state_dict(), path)

        def load() -> nn.Module:
            model = create("float", "resnet18", in_channels=1, width=16)
            model.load_state_dict(torch.load(path, weights_only=True))
            return model.to(device.device()).eval()

        return load

    rows = {"store/load": Rate("s", "ours", "torch.load")}
    return Group(rows, {"ours": ours, "torch.load": theirs}, 15, 5)
