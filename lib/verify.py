"""Whether today's code still makes what the store holds: the beginning again, bit for bit.

A run and its evaluations carry fingerprints of the code that made them. After a change of that
code, training the first epoch again and comparing its loss to the last digit, and the learning
rates of all epochs, tells whether the change matters. Where later epochs do more than the first,
which rewire masks or begin to attack, the first of them is trained again as well. Of an evaluation
the first batch of images is scored again: batches draw independently. What comes out alike is noted
in verified.json beside the run, with the code that showed it; the records stay as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from lib import data, device, evaluate, runs, scoring, store, training
from lib.errors import UserError
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.schedules import learning_rate
from lib.trainers import Trainer

SAME = ("device", "instruction_set", "torch", "precision")


def stale(run: runs.Run) -> tuple[bool, dict[str, dict[str, Any]]]:
    """Return whether other code than today's trained a run, and which records it measured."""
    held = evaluate.held(run)
    measured = {name: r for name, r in held.items() if not evaluate.is_current(r, run)}
    return not runs.is_current(run), measured


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
    images = _images(run, "train", recipe.data.train_images, info.get("data_fingerprint"))
    size = images.images.shape[-1]
    precision = device.precision(recipe.train.precision, size)
    _check_machine(run, info, precision)
    with threads(info["threads"]):
        trainer = Trainer(runs.build(recipe), recipe, images, precision)
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
    _note(
        run,
        {
            "code": runs.code_fingerprint(recipe),
            "made_by": info.get("code"),
            "epoch_1_loss": losses[0],
            "epochs": epochs,
            **training.provenance(),
        },
    )
    return True


def verify_evaluation(run: runs.Run, record: dict[str, Any]) -> bool:
    """Return whether the first batch of an evaluation, scored anew, is right where it was.

    Needs the weights. A positive answer is kept in the job store.
    """
    protocol = Protocol(**record["protocol"])
    images = _images(run, protocol.split, protocol.images, record.get("data_fingerprint"))
    _check_machine(run, record, "fp32")
    batch = images[: scoring.BATCH]
    with threads(record["threads"]):
        hits = scoring.correct(run.model(protocol.weights), batch, protocol)
    if hits.tolist() != evaluate.unpack(record["bits"], record["n"])[: len(batch)]:
        return False
    proof = evaluate.proof(record, scoring.code_fingerprint(run.recipe, protocol))
    shown = training.provenance()
    proof |= {name: shown[name] for name in ("commit", "dirty", "device", "finished")}
    _note(run, {"evaluations": {protocol.key: proof}})
    return True


def report(
    run: runs.Run, everything: bool, on_progress: runs.OnProgress = lambda done: None
) -> Iterator[tuple[bool, str]]:
    """Verify what is stale of a run, or everything; yield whether it is the same, in a line each.

    Evaluations need weights: of a record without them only the training is verified.
    """
    trained, measured = stale(run)
    scored = measured
    if everything:
        trained, scored = True, {n: r for n, r in evaluate.held(run).items() if "protocol" in r}
    if trained:
        same = verify(run, on_progress)
        yield same, f"{'the same' if same else 'differs'}  {run.recipe.method.kind}"
    if scored and run.has_weights:
        wrong = [record for record in scored.values() if not verify_evaluation(run, record)]
        for record in wrong:
            protocol = Protocol(**record["protocol"])
            yield False, f"differs  {protocol.name} at lam {protocol.lam:g} ({protocol.key})"
        yield True, f"the same  {len(scored) - len(wrong)} of {len(scored)} evaluations"
    elif measured:
        yield (
            False,
            f"has {len(measured)} evaluations by other code, which cannot be scored without its "
            "weights; train it anew with --fresh.",
        )


def _images(run: runs.Run, split: str, limit: int, fingerprint: Any) -> data.Images:
    images = data.load(run.recipe.data.dataset, split, limit=limit, device=device.device())
    if data.fingerprint(images) != fingerprint:
        raise UserError(f"The {split} images differ from those of run {run.key}; train it anew.")
    return images


def _check_machine(run: runs.Run, info: dict[str, Any], precision: str) -> None:
    """Refuse to compare bits with those of another kind of machine."""
    here = device.describe() | {"precision": precision}
    for name in SAME:
        if here[name] != info.get(name):
            raise UserError(
                f"Run {run.key} was made with {name} {info.get(name)}, here it is {here[name]}; "
                "bits compare only between equals."
            )


def _note(run: runs.Run, shown: dict[str, Any]) -> None:
    """Add to what is known to be alike of a run, in the job store."""
    home = runs.folder(run.recipe)
    with store.one_writer(home):
        known = next(iter(store.proofs(run.key)), {})
        evaluations = known.get("evaluations", {}) | shown.pop("evaluations", {})
        proof = known | shown | ({"evaluations": evaluations} if evaluations else {})
        store.write_json(home / store.VERIFIED, store.signed(proof))
