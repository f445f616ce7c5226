"""Whether today's code still trains what the store holds: the first epochs again, bit for bit.

A run carries a fingerprint of the code that made it. After a change of that code, training the
first epoch again and comparing its loss to the last digit, and the learning rates of all epochs,
tells whether the change matters. Where later epochs do more than the first, which rewire masks or
begin to attack, the first of them is trained again as well.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from lib import data, device, runs, store
from lib.errors import UserError
from lib.recipe import Recipe
from lib.schedules import learning_rate
from lib.trainers import Trainer

SAME = ("device", "instruction_set", "torch", "precision")


def is_current(run: runs.Run) -> bool:
    """Return whether today's code made a run, or has been shown to train its first epochs alike."""
    today = runs.code_fingerprint()
    if run.info.get("code") == today:
        return True
    return store.verified(run.key, run.info.get("code"), today) is not None


def telling_epochs(recipe: Recipe) -> int:
    """Return how many epochs, from the first, have done everything that a training does."""
    return max(recipe.method.warm_up, 1 if recipe.sparsity else 0) + 1


def _within(report: runs.OnProgress, before: int, epochs: int, done: float) -> None:
    report((before + done) / epochs)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with this many threads, then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def verify(run: runs.Run, on_progress: runs.OnProgress = lambda done: None) -> bool:
    """Return whether the first epochs, trained anew, have exactly the recorded losses and rates.

    Bits compare only on the same kind of processor and torch; elsewhere a UserError says so. As
    many threads are used as then. A positive answer is kept in the job store.
    """
    recipe, info = run.recipe, run.info
    with (run.folder / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    if not history:
        raise UserError(f"Run {run.key} has no epoch to compare; it was trained for none.")
    epochs = min(len(history), telling_epochs(recipe))
    images = data.load(
        recipe.data.dataset, "train", limit=recipe.data.train_images, device=device.device()
    )
    if data.fingerprint(images) != info.get("data_fingerprint"):
        raise UserError(f"The training images differ from those of run {run.key}; train it anew.")
    size = images.images.shape[-1]
    here = device.describe() | {"precision": device.precision(recipe.train.precision, size)}
    differs = [name for name in SAME if here[name] != info.get(name)]
    if differs:
        name = differs[0]
        raise UserError(
            f"Run {run.key} was made with {name} {info.get(name)}, here it is {here[name]}; "
            "bits compare only between equals."
        )
    with threads(info["threads"]):
        trainer = Trainer(runs.build(recipe), recipe, images, here["precision"])
        last = 1 - 1 / max(1, len(images) // trainer.batch)  # where an epoch's last step begins
        rates = [learning_rate(recipe.train, epoch + last) for epoch in range(len(history))]
        losses = [
            trainer.epoch(partial(_within, on_progress, done, epochs))["loss"]
            for done in range(epochs)
        ]
    recorded = [float(past["lr"]) for past in history]
    same = losses == [float(past["loss"]) for past in history[:epochs]]
    if not same or not np.allclose(rates, recorded, rtol=1e-9):
        return False
    record: dict[str, Any] = {
        "code": runs.code_fingerprint(),
        "made_by": info.get("code"),
        "epoch_1_loss": losses[0],
        "epochs": epochs,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    path = runs.folder(recipe) / store.VERIFIED
    store.write_json(path, store.signed(record | runs.provenance()))
    return True
