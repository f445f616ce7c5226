"""What a batch would do and why, without doing anything: --dry-run and --why."""

from collections.abc import Sequence

from lib.batch import display, effort, inputs, notebooks, plan
from lib.batch.run import Batch
from lib.progress import span


def dry(batch: Batch) -> int:
    """Print what `execute` would do, one line per artifact."""
    rows, due = [], batch.due
    for name, study in batch.plan.studies.items():
        needs = batch.plan.with_starts(study)
        notebook = "execute" if name in due else "skip" if name in batch.skipped else "current"
        rows.append((name, len(needs), *plan.undone([] if batch.records else needs), notebook))
    print(display.table(("artifact", "networks", "to train", "to evaluate", "notebook"), rows))
    for name, reason in batch.skipped.items():
        print(f"skipped: {name}: {reason}")
    training, lacking = plan.undone(batch.undone)
    jobs = len(batch.undone) + len(due)
    print(
        f"\nShared networks counted once: {len(batch.plan.needs)} networks, {training} to train, "
        f"{lacking} evaluations, {len(due)} notebooks; {jobs} jobs."
    )
    if jobs:
        print(_extent(batch))
    wide = [need for need in batch.undone if not (need.trained or need.recipe.model.width)]
    if wide:
        print(_on_a_gpu(wide))
    return 0


def _extent(batch: Batch) -> str:
    """Return in two sentences how long and how large a batch is."""
    needs, due, slots = batch.undone, batch.due, batch.slots
    alone = {need.recipe.key: need.seconds for need in needs}
    links = ((*need.recipe.ancestors, need.recipe) for need in needs)
    chains = [sum(alone.get(link.key, 0.0) for link in chain) for chain in links]
    times = [*alone.values()]
    times += [notebooks.guess(batch.plan.studies[name], batch.timeout) for name in due]
    disk = (sum(effort.disk(n.recipe) for n in needs if not n.trained) + 1e6 * len(due)) / 1e9
    longest = max(*times, *chains, sum(times) / slots)
    return (
        f"About {span(longest)} with {slots} at a time and {max(disk, 0.1):.1f} GB of disk: "
        "guesses, two or three times too much or too little. In memory, "
        f"{batch.memory}"
    )


def _on_a_gpu(needs: Sequence[plan.Need]) -> str:
    """Return in a sentence how long each of some networks takes on a GPU of a data centre."""
    train = [effort.seconds(n.recipe, True, (), "cuda") for n in needs]
    score = [effort.seconds(n.recipe, False, n.lacking, "cuda") for n in needs]
    return (
        f"On an H100 or H200, at {effort.SPEEDS['cuda']:.0e} multiply-accumulates a second, a "
        f"network of full width takes {span(min(train))} to {span(max(train))} to train and "
        f"{span(min(score))} to {span(max(score))} to evaluate."
    )


def why(batch: Batch) -> int:
    """Print for each artifact what is missing, stale or changed, and what would be done."""
    for name, study in batch.plan.studies.items():
        needs = batch.plan.with_starts(study)
        print(f"{name}, preset {study.results}, seeds {', '.join(map(str, study.seeds))}")
        reasons = ["--fresh was asked for"] if batch.fresh else []
        reasons += inputs.changes(study, batch.plan)
        if needs and not batch.fresh and all(need.state in plan.NOT_HERE for need in needs):
            kept = sum(need.state == plan.RECORD for need in needs)
            redraw = f"; of {kept} there are records, which --from-records redraws" if kept else ""
            print(f"  none of its {len(needs)} networks has been trained here{redraw}")
        else:
            for need in needs:
                have, all_of_them = len(need.protocols) - len(need.lacking), len(need.protocols)
                other = ", made by other code than today's (--fresh trains it anew)"
                state = f"{need.state}{other if need.stale else ''}"
                made = f", {need.outdated} more by other code" if need.outdated else ""
                print(f"  run {need.name}: {state}, {have} of {all_of_them} evaluations{made}")
            for reason in reasons:
                print(f"  notebook: {reason}")
        training, lacking = plan.undone(needs)
        parts = [f"train {training} networks"] if training else []
        parts += [f"make {lacking} evaluations"] if lacking else []
        parts += ["execute the notebook"] if reasons or parts else []
        if (training or lacking) and batch.records:
            parts = ["it is skipped, as --from-records neither trains nor evaluates"]
        print(f"  so: {', '.join(parts) or 'nothing to do, everything is current'}")
    return 0
