"""Whether today's code still makes what the store holds: the beginning again, bit for bit.

A run and its evaluations carry fingerprints of the code that made them. After a change of that
code, training the first epoch again and comparing its loss to the last digit, and the learning
rates of all epochs, tells whether the change matters. Where later epochs do more than the first,
which rewire masks or begin to attack, the first of them is trained again; conversions are made anew
and the first images of an evaluation scored: batches draw independently. What comes out alike is
noted in verified.json beside the run, with the code that showed it; the records stay as they are.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import numpy as np
import torch

from lib import data, device, evaluate, runs, scoring, store, training
from lib.errors import UserError
from lib.evaluate import Record
from lib.models.depthwise import equivalents
from lib.protocol import Protocol
from lib.recipe import Recipe
from lib.schedules import learning_rate
from lib.sparsity import Admm, Lasso
from lib.trainers import make

SAME = ("device", "instruction_set", "torch", "precision", "processes")


def stale(run: runs.Run) -> tuple[bool, dict[str, Record]]:
    """Return whether other code than today's trained a run, and which records it measured."""
    measured = {n: r for n, r in evaluate.held(run).items() if not evaluate.is_current(run, r)}
    return not runs.is_current(run), measured


def telling_epochs(recipe: Recipe) -> int:
    """Return how many epochs, from the first, have done everything that a training does."""
    part = recipe.sparsity
    if isinstance(part, Admm | Lasso):  # which prune after the last one
        return recipe.train.epochs
    return 1 + max(recipe.method.warm_up, getattr(part, "clean_epochs", 0), 1 if part else 0)


@contextmanager
def _as_then(
    run: runs.Run, made: Record, split: str, limit: int, precision: str
) -> Iterator[data.Images]:
    """Give the images of what was made of a run, and compute with as many threads as then.

    Other images are refused, and other kinds of machines: bits compare only between equals.
    """
    here = device.describe() | {"precision": precision, "processes": 1}
    made = {"processes": 1} | made  # of torchrun; else they are not recorded
    for name in SAME:
        if here[name] != made.get(name):
            raise UserError(
                f"Run {run.key} was made with {name} {made.get(name)}, here it is {here[name]}; "
                "bits compare only between equals."
            )
    images = data.load(run.recipe.data.dataset, split, limit=limit, device=device.device())
    if data.fingerprint(images) != made.get("data_fingerprint"):
        raise UserError(f"The {split} images differ from those of run {run.key}; train it anew.")
    torch.set_num_threads(made["threads"])
    try:
        yield images
    finally:
        torch.set_num_threads(here["threads"])


def verify(run: runs.Run, on_progress: runs.OnProgress = lambda done: None) -> bool:
    """Return whether the first epochs, trained anew, have exactly the recorded losses and rates.

    And as many weights as pruning left, where a run has noted them; without epochs, the recorded
    weights. A positive answer is kept in the job store.
    """
    recipe, info = run.recipe, run.info
    with (run.folder / "history.csv").open() as file:  # as written: the csv module rounds nothing
        history = list(csv.DictReader(file))
    epochs = min(len(history), telling_epochs(recipe))
    precision = device.used_precision(recipe.train.precision, data.spec(recipe.data.dataset).size)
    told = [name for name in ("loss", "active_weights") if name in next(iter(history), {})]
    seen: list[list[float]] = []
    with _as_then(run, info, recipe.data.split, recipe.data.train_images, precision) as images:
        how = (images, precision, info.get("compiled", ""))
        trainer = make(recipe, runs.build(recipe), *how)
        while len(seen) < epochs:
            row = trainer.epoch(lambda done: on_progress((len(seen) + done) / epochs))
            seen.append([row[name] for name in told])
    last = 1 - 1 / trainer.steps_per_epoch  # where an epoch's last step begins
    rates = [learning_rate(recipe.train, epoch + last) for epoch in range(len(history))]
    same = seen == [[float(past[name]) for name in told] for past in history[:epochs]]
    if not history:  # a conversion, or what is not trained: made again as a whole
        same = sha256(training.packed(trainer.model)).hexdigest() == run.marks()["weights_sha256"]
    if not same or not np.allclose(rates, [float(past["lr"]) for past in history], rtol=1e-9):
        return False
    code = runs.code_fingerprint(recipe)
    shown = {"code": code, "made_by": info.get("code"), "losses": [row[0] for row in seen]}
    _note(run, shown | training.provenance())
    return True


def verify_evaluation(run: runs.Run, record: Record) -> bool:
    """Return whether the first batch of an evaluation, scored anew, is right where it was.

    Needs the weights. A positive answer is kept in the job store.
    """
    protocol = Protocol(**record["protocol"])
    with _as_then(run, record, protocol.split, protocol.images, "fp32") as images:
        model = equivalents(run.model(protocol.weights))  # which an evaluation attacks
        batch = images[: scoring.batch_size(model, images, protocol)]
        hits = scoring.correct(model, batch, protocol)
    if not torch.equal(hits, evaluate.unpack(record["bits"], record["n"])[:, : len(batch)]):
        return False
    proof = evaluate.proof(record, scoring.code_fingerprint(run.recipe, protocol))
    shown = training.provenance()
    proof |= {name: shown[name] for name in ("commit", "dirty", "device", "finished")}
    _note(run, {}, {protocol.key: proof})
    return True


def report(
    run: runs.Run, everything: bool, on_progress: runs.OnProgress = lambda done: None
) -> Iterator[tuple[bool, str]]:
    """Verify what is stale of a run, or everything; yield whether it is the same, in a line each.

    Evaluations need weights: of a record without them only the training is verified.
    """
    trained, measured = stale(run)
    scored = evaluate.held(run) if everything else measured
    scored = {name: record for name, record in scored.items() if "protocol" in record}
    if everything or trained:
        same = verify(run, on_progress)
        yield same, f"{'the same' if same else 'differs'}  {run.recipe.method.kind}"
    if scored and run.has_weights:
        wrong = [record for record in scored.values() if not verify_evaluation(run, record)]
        for protocol in (Protocol(**record["protocol"]) for record in wrong):
            yield False, f"differs  {protocol.name} at lam {protocol.lam:g} ({protocol.key})"
        yield True, f"the same  {len(scored) - len(wrong)} of {len(scored)} evaluations"
    elif measured:
        yield (
            False,
            f"has {len(measured)} evaluations by other code, which cannot be scored without its "
            "weights; train it anew with --fresh.",
        )


def _note(run: runs.Run, shown: Record, evaluations: Record | None = None) -> None:
    """Add to what is known to be alike of a run, in the job store."""
    home = runs.folder(run.recipe)
    with store.one_writer(home):
        known = next(iter(store.proofs(run.key)), {})
        if evaluations:
            shown = shown | {"evaluations": known.get("evaluations", {}) | evaluations}
        store.write_signed(home / store.VERIFIED, known | shown)
