"""Stands in for the processes of a batch, without torch or Jupyter: quick, and faulty on demand.

FAKE is the path of a JSON file: {word: behaviour}, where word is an artifact or a recipe's key and
behaviour one of fail, partial, hang, killed, silent. Every call is noted in FAKE.calls.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib import paths, store
from lib.recipe import Recipe

PLAN = Path(os.environ["FAKE"])


def behave(word: str, so_far: str = "") -> None:
    with PLAN.with_suffix(".calls").open("a") as calls:
        calls.write(f"{word} {os.environ.get('SUITE_FROM_RECORDS', '')}\n")
    match json.loads(PLAN.read_text()).get(word):
        case "fail":
            sys.stderr.write("Traceback (most recent call last):\n  ...\nValueError: no luck\n")
            sys.exit(1)
        case "refuse":
            sys.stderr.write("error: cell [3]: ValueError: no luck\n")
            sys.exit(1)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            tempfile.mkdtemp(prefix="nb-")
            subprocess.Popen(["sleep", "1000"], start_new_session=True)  # as kernels are
            time.sleep(1000)


def train(job: Path) -> None:
    asked = json.loads(job.read_text())
    made = Recipe.from_dict(asked["recipe"])
    print("progress 0.5", flush=True)
    behave(made.key)
    home = paths.runs() / made.key
    store.write_json(home / "recipe.json", made.to_dict())
    store.write_text(home / "weights.safetensors", "weights")
    store.write_json(home / "run.json", {"code": "0", "seconds": 1.0, "device": "fake"})
    store.seal(home, ["recipe.json", "weights.safetensors", "run.json"])
    evaluate(home, asked["protocols"])


def evaluate(home: Path, protocols: list[dict]) -> None:
    from lib.protocol import Protocol

    for row in protocols:
        key = Protocol(**row).key
        record = {"protocol": row, "code": "today"}
        weights = store.sha256(home / "weights.safetensors")
        record |= {"recipe_key": home.name, "weights_sha256": weights}
        record |= {"n": row["images"], "correct": 0, "bits": "0"}
        store.write_json(home / "evaluations" / f"{key}.json", store.signed(record))


def execute(source: Path, output: Path, parameters: str) -> None:
    artifact, given = f"{source.parent.name}/{source.stem}", json.loads(parameters)
    results = given["PRESET"]
    if given["OVERRIDES"]:
        text = json.dumps(given["OVERRIDES"], sort_keys=True)
        results += f"-custom-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    folder = paths.home(results) / artifact
    output.write_text(source.read_text())
    store.write_text(folder / "metrics.csv", f"value\n{time.time()}\n")
    behave(artifact)
    if json.loads(PLAN.read_text()).get(artifact) == "partial":
        return
    for name in ("claims.csv", "figure.png"):
        store.write_text(folder / name, "")
    store.write_json(folder / "run.json", {"command": "./run_all.sh", "runs": {}})


if sys.argv[1] == "lib":
    train(Path(sys.argv[3]))
else:
    execute(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
