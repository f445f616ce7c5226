"""What the repository keeps of finished runs, in results/records: all that counts but weights."""

from pathlib import Path

from lib import evaluate, paths, runs, store
from lib.errors import UserError
from lib.recipe import Recipe


def keep(recipe: Recipe) -> Path:
    """Copy a finished run to where the repository keeps it, and return that folder.

    What was there before is gone, except weights that are the run's. The runs that it starts from
    go with it where they are here. With SUITE_FROM_RECORDS, what has no weights or is of other code
    counts.
    """
    run = runs.find(recipe)
    if run is None:
        raise UserError(f"Run {recipe.key} is not finished; there is nothing to record.")
    target = paths.records() / run.key
    listed = store.read_json(run.folder / store.MANIFEST)
    light = [name for name in listed if name not in store.WEIGHTS.values()]
    files = {name: (run.folder / name).read_bytes() for name in light}
    for name, record in evaluate.held(run).items():
        if store.redrawing() or evaluate.is_current(run, record):
            files[f"evaluations/{name}.json"] = store.encode(store.signed(record))
    if shown := store.proofs(run.key):
        files[store.VERIFIED] = store.encode(store.signed(shown[0]))
    files[store.MANIFEST] = store.encode(listed)
    try:
        (target / store.MANIFEST).unlink(missing_ok=True)  # unfinished until all files are written
        for path in [p for p in target.rglob("*") if p.is_file()]:
            name = path.relative_to(target).as_posix()
            if name not in files and listed.get(name) != store.sha256(path):
                path.unlink()
    except OSError as error:
        raise UserError(f"Cannot change {target} ({error.strerror}); make it writable.") from error
    for name, raw in files.items():
        store.write_bytes(target / name, raw)
    if recipe.start and runs.find(recipe.start):
        keep(recipe.start)
    return target
