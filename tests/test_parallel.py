"""Two processes of torchrun that train one network, on gloo."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from lib import parallel, paths, store
from lib.batch import pool
from lib.errors import UserError
from lib.methods import Float, Oat, PgdAt, Smart
from lib.recipe import Attack, Recipe
from tests.tiny import digits

METHODS = {"pgd_at": PgdAt(lam=0.5), "oat": Oat(), "float": Float(), "smart": Smart()}

# Trains each method for three steps, batch norms in evaluation mode, and saves network and loss.
STEPS = """
import sys
import torch
from torch import nn
from lib import data, networks, parallel
from lib.trainers import Trainer
from tests.test_parallel import METHODS, recipe

torch.set_num_threads(1)
nn.modules.batchnorm._BatchNorm.train = lambda self, mode=True: nn.Module.train(self, False)
made = {}
with parallel.group() as number:
    for name in METHODS:
        asked = recipe(name, random_start=False)
        trainer = Trainer(networks.fresh(asked), asked, data.load("digits", "train", 48), "fp32")
        trainer.epoch()
        mine = trainer.model.state_dict() | {"loss": torch.tensor(trainer.history[0]["loss"])}
        theirs = parallel.tell(mine)
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)  # alike to the bit
        made[name] = mine
    if number == 0:
        torch.save(made, sys.argv[1])
"""
# Notes where the attack of each process starts from, and the noise and statistics after one step.
STARTS = """
import sys
import torch
from lib import data, networks, parallel
from lib.attacks.norms import Linf
from lib.trainers import Trainer
from tests.test_parallel import recipe

torch.set_num_threads(1)
draws, draw = [], Linf.draw
Linf.draw = lambda *words: draws.append(draw(*words)) or draws[-1]
with parallel.group() as number:
    asked = recipe("float")
    trainer = Trainer(networks.fresh(asked), asked, data.load("digits", "train", 48), "fp32")
    next(trainer.steps(0))
    seen = torch.get_rng_state(), dict(trainer.model.named_buffers())
    state, buffers = parallel.tell(seen)
    assert torch.equal(state, seen[0])  # as much weight noise, from one seed
    assert all(torch.equal(buffers[key], seen[1][key]) for key in buffers)
    other = parallel.tell(draws)
    assert number == 0 or all(not torch.equal(a, b) for a, b in zip(draws, other))
"""


def recipe(name: str, random_start: bool = True, epochs: int = 1) -> Recipe:
    attack = Attack(eps=0.1, steps=2, random_start=random_start)
    return digits(METHODS[name], "resnet18", 48, attack=attack, epochs=epochs, lr=0.05)


def together(*words, results="", processes=2) -> subprocess.CompletedProcess:
    """Run a command in processes of torchrun."""
    call = [*pool.python("torch.distributed.run", "--standalone"), "--nproc-per-node", processes]
    env = os.environ | pool.settings() | {"SUITE_RESULTS": str(results), "SUITE_PROGRESS": ""}
    line = [str(word) for word in (*call, *words)]
    return subprocess.run(line, cwd=paths.ROOT, env=env, capture_output=True, text=True)


def test_two_processes_take_the_steps_of_one_with_the_same_batches(tmp_path):
    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    alone = [sys.executable, script, tmp_path / "one.pt"]
    subprocess.run(alone, cwd=paths.ROOT, env=os.environ | pool.settings(), check=True)
    made = together(script, tmp_path / "two.pt")
    assert made.returncode == 0, made.stderr
    one, two = (torch.load(tmp_path / f"{name}.pt") for name in ("one", "two"))
    for name in METHODS:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)


def test_processes_share_the_noise_of_weights_but_not_the_starts_of_attacks(tmp_path):
    (tmp_path / "starts.py").write_text(STARTS)
    made = together(tmp_path / "starts.py")
    assert made.returncode == 0, made.stderr


def test_the_first_process_alone_writes_the_run_and_says_how_many_there_were(tmp_path):
    asked = recipe("smart", epochs=2)
    store.write_json(tmp_path / "job.json", {"recipe": asked.to_dict(), "protocols": [{}]})
    made = together("-m", "lib", "train", tmp_path / "job.json", results=tmp_path)
    assert made.returncode == 0, made.stderr
    home = tmp_path / "runs" / asked.key
    assert made.stdout.count(asked.key) == 2  # key and folder, on one line
    assert json.loads((home / "run.json").read_text())["processes"] == 2
    assert store.damage(home) == "" and len(list((home / "evaluations").iterdir())) == 1
    assert all(t.isfinite().all() for t in load_file(home / "weights.safetensors").values())


def test_a_batch_that_cannot_be_shared_evenly_is_refused(monkeypatch):
    from lib import data, networks
    from lib.trainers import Trainer

    monkeypatch.setattr(parallel, "size", lambda: 3)
    asked = recipe("smart")
    images = data.load("digits", "train", 48)
    with pytest.raises(UserError, match="as a multiple of 6"):
        Trainer(networks.fresh(asked), asked, images, "fp32")
