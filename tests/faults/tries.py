"""What happens to the kinds of work. A try returns '' if the suite dealt with it, else what it did.

Dealt with is: nothing wrong was loaded or sealed, a refusal was one sentence with its status, and
the same command then completes to the files that it makes undisturbed, bit for bit.
"""

import errno
import os
import random
import resource
import shutil
import signal
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lib import evaluate, records, runs, store, training
from lib.batch import inputs, plan
from lib.trainers import loop
from tests.faults.process import Skip, Try, at_change, family, left, unprivileged
from tests.faults.works import BATCH, Work

REGIONS = ("header", "middle", "tail", "truncated", "empty", "swapped")
SEALED = (store.MANIFEST, "recipe.json", "run.json", *store.WEIGHTS.values(), "history.csv")
REPLACED = (training.NEXT_BEST, training.NEXT_MANIFEST, "sizes.json", "verified.json")  # anew
# the whole batch, as a machine that goes down does; it alone; the last process that it started
KILLS = [partial(family, which=slice(*of)) for of in ((0, None), (0, 1), (-1, None))]


def saving() -> None:
    """Save states after every step and batch, not now and then."""
    training.SAVE_EVERY = evaluate.SAVE_EVERY = -1


def die(event: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Work, number: int) -> str:
    """Kill it, by turns at a random time and before a random change of its files."""
    states, moment = [saving] if number % 4 > 1 else [], lambda: None
    for _ in range(20):  # it may end before
        home, after = work.put(work.start), random.uniform(0, work.undisturbed.seconds)
        if number % 2 and work.changes:
            after, moment = 1200.0, at_change(home, random.randint(1, work.changes), die)
        ended = work.begin(*states, moment).end(after, KILLS[number % 3])
        if ended.status == -signal.SIGKILL or (ended.killed and ended.status):
            rest = "" if (wrong := work.recovers()) else left(home)
            return f"processes were left: {rest}" if rest else wrong
    return "it was always faster"


def full(work: Work, number: int) -> str:
    """Let no file grow beyond a random size, or every write fail from a random one on."""

    def refuse(event: str) -> None:
        if event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    home = work.put(work.start)
    made = [path.relative_to(work.whole) for path in work.whole.rglob("*") if path.is_file()]
    new = [(work.whole / name).stat().st_size for name in made if not (work.start / name).exists()]
    most = random.randrange(max(new))
    meet = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # noqa: E731
    if number % 2 and work.changes:
        meet = at_change(home, random.randint(1, work.changes), refuse)
    ended = work.begin(meet).end()
    return work.recovers(ended.unclear() if ended.status else "")


def closed(work: Work, number: int) -> str:
    """Take away the right to write, by turns into its own folder, the runs and all of the store."""
    home = work.put(work.start)
    own = home / (f"local/ci/{BATCH[1]}" if work.is_batch else f"runs/{work.recipe.key}")
    folders = [home, home / "runs", own][2 - number % 3 :]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        folder.chmod(0o555)
    try:
        ended = work.begin(unprivileged).end()
    finally:
        for folder in folders:
            folder.chmod(0o755)
    if reason := ended.said.partition("Skip: ")[2]:
        raise Skip(reason.strip())
    return work.recovers(ended.unclear())


def harm(path: Path, region: str, other: Path) -> bytes:
    """Damage a file and return what it holds then."""
    raw = bytearray(path.read_bytes())
    half = len(raw) // 2
    cut = {"truncated": raw[:half], "empty": b"", "swapped": other.read_bytes()}
    part = {"header": slice(8), "middle": slice(half, half + 8), "tail": slice(-8, None)}
    if region in part:
        raw[part[region]] = bytes(byte ^ 1 for byte in raw[part[region]])
    path.write_bytes(cut.get(region, raw))
    return path.read_bytes()


def damaged(work: Work, number: int, file: str) -> str:
    """Damage a file of a finished work, or of one under way, by turns in each region."""
    region = REGIONS[number % len(REGIONS)]
    for one in (work, work.twin):  # the latter to swap with
        if any(one.whole.rglob(file)):
            one.put(one.whole)
        else:  # die when it is there
            there = lambda event, home=one.home: any(home.rglob(file)) and die(event)  # noqa: E731
            one.run(saving, at_change(one.home, 1, there))
    path, other = (next(one.home.rglob(file)) for one in (work, work.twin))
    wrong = harm(path, region, other)
    if file in SEALED and number % 5 == 0:
        for words in (["status"], ["runs", "export", str(work.room / "bag"), path.parent.name]):
            ended = Try(words, work.home).end()
            told = any(word in ended.said for word in ("damaged", "  refused: "))
            if ended.status != 1 or not told or "Traceback" in ended.said:
                return f"{words[0]}: status {ended.status}, {ended.said[-400:]}"
    if said := work.recovers():
        return said
    aside = [p for p in work.home.rglob("*") if ".damaged-" in str(p) and p.is_file()]
    wanted = file in SEALED or (region != "swapped" and file not in REPLACED)
    found = wrong in [path.read_bytes() for path in aside]
    return "" if found or not wanted else "it was not set aside"


def shelved(work: Work, number: int) -> str:
    """Damage the evaluations of a record, which then count as they were or are made anew."""
    home, other = work.put(work.whole), work.room / store.BUNDLE
    twins = work.twin.whole / "runs" / work.twin.recipe.key
    other.write_bytes(store.bundle(dict(store.measured(twins))))

    def believed() -> None:
        run = runs.Run(work.recipe, runs.folder(work.recipe))
        true, path = evaluate.held(run), records.keep(work.recipe) / store.BUNDLE
        shutil.rmtree(run.folder / "evaluations")
        assert evaluate.held(run) == true
        harm(path, REGIONS[number % len(REGIONS)], other)
        print(*(n for n, one in evaluate.held(run).items() if one != true.get(n)), end="")

    wrong = Try(believed, home).end().said or work.begin().end().failed()
    shutil.rmtree(home / "records")
    return work.recovers(wrong)


def edited(work: Work, number: int) -> str:
    """Damage every result of a batch in every region, which each has to be noticed; then all."""
    home = work.put(work.whole)
    files = sorted(p for p in next(home.rglob("metrics.csv")).parent.iterdir() if p.is_file())
    pairs = list(zip(files, files[1:] + files[:1], strict=True))

    def unnoticed() -> None:
        made = plan.make(BATCH[1:2], "ci", (0,), {})
        for path, other in pairs:
            before = path.read_bytes()
            for region in REGIONS:
                harm(path, region, other)
                if not any(inputs.changes(made.studies[BATCH[1]], made)):
                    print(f"{path.name}: {region} not noticed")
                path.write_bytes(before)

    said = Try(unnoticed, home).end().said
    for path, other in pairs:
        harm(path, random.choice(REGIONS), other)
    return work.recovers(said)


def both(work: Work, number: int) -> str:
    """Start it twice at once; by turns one of the two is killed."""
    work.put(work.start)
    two = [work.begin(saving), work.begin()]
    if number % 2:
        two.pop(0).end(random.uniform(0, work.undisturbed.seconds))
    return work.recovers("".join(one.end().failed() for one in two))


def diverged(work: Work, number: int) -> str:
    """Let an image, the loss or its gradient be no number in a step, the last one among them."""
    step, kind = (7, 0, 3, 4, 6)[number // 3 % 5], number % 3  # of 2 epochs with 4 steps each
    usual, steps = loop.objective, iter(range(99))

    def objective(method, network, x, y, context):
        if next(steps) != step:
            return usual(method)(network, x, y, context)
        if kind == 0:
            x[0, 0, 0, 0] = torch.nan
        loss = usual(method)(network, x, y, context)
        if kind == 1:
            return loss * torch.nan
        weight = next(network.parameters()).flatten()[0]
        return loss + 0 * (0 * weight).sqrt()  # whose derivative is 0 / 0

    def spoil() -> None:
        loop.objective = lambda method: partial(objective, method)

    wrong = work.run(saving, spoil).unclear()
    sealed = store.is_sealed(work.home / "runs" / work.recipe.key)
    return work.recovers(f"sealed for all of kind {kind} in step {step}" if sealed else wrong)


def spoilt(work: Work, number: int) -> str:
    """Let the network that it measures or starts from be sealed with a weight that is none."""
    home, (parent,) = work.put(work.start), work.given
    path = home / "runs" / parent.key / store.WEIGHTS["last"]
    tensors = load_file(path)
    weight = random.choice([t for t in tensors.values() if t.is_floating_point() and t.dim()])
    weight.view(-1)[0] = (torch.nan, torch.inf)[number % 2]
    save_file(tensors, path)
    store.seal(path.parent, [*store.read_json(path.with_name(store.MANIFEST))])
    wrong = work.begin().end().unclear()
    return work.recovers(wrong or Try([*work.train(parent), "--fresh"], home).end().failed())
