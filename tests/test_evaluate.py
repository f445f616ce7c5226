"""Evaluation: it attacks what it scores, changes nothing, and keeps its records."""

import dataclasses
import json
import os

import pytest
import torch
from PIL import Image
from pyautoattack import AutoAttack
from torch import nn

from lib import data, evaluate, measure, paths, progress, runs, scoring, store
from lib.data import Images
from lib.intervals import wilson
from lib.methods import PgdAt, Plain, Smart
from lib.models import create
from lib.models.standing import Skeleton, Standing
from lib.protocol import Protocol
from lib.recipe import Data, Model, Recipe, Train
from lib.rows import COLUMNS, HIDDEN
from lib.studies import smart
from lib.trainers import under_attack
from tests.tiny import digits

PGD = Protocol(attack="pgd", eps=0.1, steps=3)
pytestmark = pytest.mark.usefixtures("results")


def pictures(n: int = 12, channels: int = 3) -> Images:
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(0, 256, (n, channels, 8, 8), dtype=torch.uint8, generator=generator)
    return Images(x, torch.randint(0, 10, (n,), generator=generator))


class Constant(nn.Module):
    """Says the same class for every image."""

    def __init__(self, label: int):
        super().__init__()
        self.label = label
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        logits = torch.zeros(len(x), 10) + self.weight + 0 * x.sum()
        logits[:, self.label] += 1
        return logits


@pytest.mark.parametrize("protocol", [Protocol(), PGD, Protocol(attack="fgsm", eps=0.1)])
def test_a_constant_classifier_is_right_where_its_label_is(protocol):
    images = pictures()
    hits = scoring.correct(Constant(4), images, protocol)
    assert torch.equal(hits, (images.labels == 4)[None])


def test_evaluation_changes_nothing_and_is_reproducible():
    model = create("smart", "resnet18", width=4).train()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    state = torch.get_rng_state()
    first = scoring.correct(model, pictures(), Protocol(lam=1.0, attack="pgd", steps=2))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    second = scoring.correct(model, pictures(), Protocol(lam=1.0, attack="pgd", steps=2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("method", "options", "asked"),
    [("float", {}, {"lam": 0.7}), ("float_slim", {"slims": (0.5, 1.0)}, {"lam": 0.7, "slim": 0.5})],
)
def test_attacks_see_the_scored_trade_off_and_width(method, options, asked, passes, monkeypatch):
    model = create(method, "resnet18", width=4, **options).eval()
    prepared, at = [], Standing.at
    monkeypatch.setattr(Standing, "at", lambda s, **call: prepared.append(call) or at(s, **call))
    scoring.correct(model, pictures(4), Protocol(attack="pgd", steps=3, **asked))
    assert [{name: call[name] for name in asked} for call in prepared] == [asked]
    assert len(passes) == 3 + 10  # gradients and draws that score
    logits = model(pictures().images.float() / 255, **asked | {"lam": 0.0})
    hits = scoring.correct(model, pictures(), Protocol(**asked | {"lam": 0.0}))
    assert torch.equal(hits, (logits.argmax(1) == pictures().labels)[None])


def test_frozen_noise_is_one_network_for_attack_and_score():
    model = create("float", "resnet18", width=4).eval()
    f = scoring.function(model, Protocol(lam=1.0, noise="frozen", seed=3))
    x = pictures().images.float() / 255
    torch.testing.assert_close(f(x), f(x), rtol=0, atol=0)
    fresh = scoring.function(model, Protocol(lam=1.0))
    assert not torch.equal(fresh(x), fresh(x))


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 601])
@pytest.mark.parametrize("draws", [1, 3])
def test_bits_come_back(n, draws):
    hits = torch.rand(draws, n) > 0.5
    assert torch.equal(evaluate.unpack(evaluate.pack(hits), n), hits)


RECIPE = digits(Smart(), "resnet18", images=64, epochs=1, batch=32, precision="fp32")


def test_an_evaluation_is_measured_once_and_equals_a_fresh_count(monkeypatch):
    run = runs.fit(RECIPE)
    protocol = Protocol(images=40)
    record = evaluate.evaluate(run, protocol)
    images = data.load("digits", "test", limit=40)
    logits = run.model()(images.images.float() / 255, lam=0.0)
    expected = logits.argmax(1) == images.labels
    assert torch.equal(evaluate.unpack(record["bits"], record["n"]), expected[None])
    assert (record["n"], record["correct"]) == (40, int(expected.sum()))
    monkeypatch.setattr(evaluate, "correct", None)
    assert evaluate.evaluate(run, protocol) == record


@pytest.mark.parametrize("records", ["", "1"])
def test_a_record_of_another_run_is_not_believed(monkeypatch, records):
    run, other = runs.fit(RECIPE), runs.fit(RECIPE.override({"seed": 1}))
    protocol = Protocol(images=40)
    good = evaluate.evaluate(run, protocol)
    name = f"evaluations/{protocol.key}.json"
    evaluate.evaluate(other, protocol)
    (run.folder / name).write_bytes((other.folder / name).read_bytes())
    monkeypatch.setenv("SUITE_FROM_RECORDS", records)
    assert not evaluate.find(run, protocol, any_code=bool(records))
    assert evaluate.evaluate(run, protocol)["bits"] == good["bits"]


class Brightness(nn.Module):
    """Says 0 for dark images and 1 for bright ones."""

    def forward(self, x):
        bright = x.flatten(1).mean(1, keepdim=True) - 0.5
        return torch.cat([-bright, bright], 1)


@pytest.mark.parametrize("kind", ["png", "bmp"])  # of the latter all have one size
def test_images_that_changed_in_their_folder_are_measured_anew(results, monkeypatch, kind):
    monkeypatch.setattr(paths, "DATA", results / "data")
    home = results / "mine"
    for part, count in (("train", 8), ("val", 20)):
        for name, level in (("a", 40), ("b", 200)):
            (home / part / name).mkdir(parents=True)
            for i in range(count):
                file = home / part / name / f"{i}.{kind}"
                Image.new("L", (16, 16), level + i).save(file)
                os.utime(file, (0, 0))
    folder = Data(f"imagefolder:{home}@16")
    run = runs.fit(Recipe(folder, Model("resnet20", width=4), Plain(), Train(epochs=1, batch=4)))
    monkeypatch.setattr(runs.Run, "model", lambda self, which="last": Brightness())
    assert evaluate.evaluate(run, Protocol())["correct"] == 40
    assert evaluate.find(run, Protocol())
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        (home / "val" / old).rename(home / "val" / new)
    assert not evaluate.find(run, Protocol()) and not evaluate.find(run, Protocol(), any_code=True)
    assert evaluate.evaluate(run, Protocol())["correct"] == 0


def signed(**content):
    return lambda path: store.write_signed(path, store.read_signed(path) | content)


def unsigned(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"correct": 40}))


HARMS = {
    "too many images": signed(n=1_000_000),
    "no number": signed(n=None),
    "no count": signed(correct=None),
    "another count": signed(correct=41),
    "bits that are none": signed(bits="zz"),
    "of another protocol": signed(protocol=PGD.to_dict()),
    "no longer signed": unsigned,
    "nested without end": lambda path: path.write_text("[" * 200_000),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_record_that_is_not_whole_is_measured_anew(harm):
    run, protocol = runs.fit(RECIPE), Protocol(images=40)
    record = evaluate.evaluate(run, protocol)
    (path,) = (run.folder / "evaluations").glob("*.json")
    harm(path)
    damaged = store.read_signed(path) is None
    assert not evaluate.find(run, protocol) and not evaluate.find(run, protocol, any_code=True)
    assert path.exists()  # planning changes nothing
    assert evaluate.evaluate(run, protocol)["bits"] == record["bits"]
    assert len(list(path.parent.glob("*.damaged-1"))) == damaged


def test_measure_gives_a_row_for_every_protocol_with_its_interval():
    changes = {"train.epochs": 1, "evaluation.images": 20, "attack.steps": 1}
    study = smart.table1_mask_density("ci", [0], changes)
    rows = measure.measure(study)
    assert len(rows) == sum(len(job.protocols) for job in study.jobs)
    assert list(rows.columns) == [*COLUMNS, *HIDDEN]
    assert rows["value"].between(0, 100).all()
    assert (rows["ci_low"] <= rows["value"]).all()
    assert (rows["value"] <= rows["ci_high"]).all()
    first = rows.iloc[0]
    low, high = wilson(round(first["value"] * 20 / 100), 20)
    assert (first["ci_low"], first["ci_high"]) == pytest.approx((low, high))


@pytest.fixture
def bars(monkeypatch):
    """Return every bar that a notebook opened by hand would show; one stands where it is made."""
    made = []

    class Bar:
        def __init__(self, total, initial=0, **rest):
            self.n, self.total, self.open = initial, total, True
            made.append(self)

        def update(self, more):
            self.n += more

        def close(self):
            self.open = False

    monkeypatch.setattr(progress, "tqdm", Bar)
    monkeypatch.setattr(progress, "interactive", lambda: True)
    monkeypatch.delenv("SUITE_PROGRESS", raising=False)
    return made


def test_a_filled_store_leaves_no_bar_and_each_run_is_loaded_once(bars, monkeypatch):
    changes = {"train.epochs": 1, "evaluation.images": 200, "attack.steps": 1}
    study = smart.table1_mask_density("ci", [0], changes)
    first = measure.measure(study)
    assert bars and not any(bar.open for bar in bars)
    assert all(bar.n == bar.total for bar in bars)
    bars.clear()
    loaded, load = [], runs.load
    monkeypatch.setattr(runs, "load", lambda recipe: loaded.append(recipe.key) or load(recipe))
    again = measure.measure(study, measure.fit(study))
    assert not bars
    assert sorted(loaded) == sorted(study.recipes)
    assert again.equals(first)


def test_a_bar_starts_at_the_first_share_of_work_and_closes_after_a_failure(bars):
    with progress.task("all at once") as report:
        report(1.0)
    assert not bars
    with pytest.raises(KeyboardInterrupt), progress.task("slow") as report:
        report(0.25)
        assert [bar.n for bar in bars] == [250]
        report(0.5)
        raise KeyboardInterrupt
    assert [(bar.n, bar.open) for bar in bars] == [(500, False)]


def test_pgd_at_rows_carry_the_trade_off_they_were_trained_with():
    study = smart.fig4_lambda_sweep("ci")
    lams = {job.recipe.method.lam for job in study.jobs if isinstance(job.recipe.method, PgdAt)}
    assert lams == {0.0, 0.2, 0.7, 1.0}
    for job in study.jobs:
        record = {"correct": 3, "n": 2, "bits": "1 3"}  # two draws
        row = measure.accuracy_row(study, job, job.protocols[0], record)
        assert (row["value"], row["n"]) == (75.0, 2)
        if isinstance(job.recipe.method, PgdAt):
            assert row["lam"] == job.recipe.method.lam


def test_what_other_code_measured_is_measured_anew_except_from_records(monkeypatch):
    run = runs.fit(RECIPE)
    evaluate.evaluate(run, Protocol(images=40))
    monkeypatch.setattr(scoring, "code_fingerprint", lambda *a: "other")
    calls = []
    original = evaluate.correct
    monkeypatch.setattr(evaluate, "correct", lambda *a: calls.append(1) or original(*a))
    monkeypatch.setenv("SUITE_FROM_RECORDS", "1")
    evaluate.evaluate(run, Protocol(images=40))
    assert not calls
    monkeypatch.delenv("SUITE_FROM_RECORDS")
    assert evaluate.evaluate(run, Protocol(images=40))["code"] == "other"
    assert len(calls) == 1


def test_draws_of_different_purposes_differ():
    seeds = {scoring.stream(p, s) for p in ("attack", "weight noise") for s in range(3)}
    assert len(seeds) == 6


@pytest.fixture
def passes(monkeypatch):
    """What every pass through a standing network is given, with the noise that it draws."""
    seen, call = [], Skeleton.__call__

    def spy(skeleton, x):
        logits = call(skeleton, x)
        seen.append((x.detach().clone(), skeleton.noise.clone()))
        return logits

    monkeypatch.setattr(Skeleton, "__call__", spy)
    return seen


@pytest.fixture
def small_batches(monkeypatch):
    """Five images a batch."""
    monkeypatch.setattr(scoring, "BATCH", 5)


ATTACKS = [
    Protocol(lam=1.0, attack="pgd", steps=2),
    Protocol(lam=1.0, attack="autoattack", version="rand", steps=2, eot=2),
    Protocol(lam=1.0, attack="autoattack", steps=2, queries=5),
    Protocol(lam=1.0, attack="pgd", steps=2, noise="frozen"),
]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("protocol", ATTACKS)
def test_an_evaluation_goes_on_at_any_batch_to_the_same_bits(protocol, passes):
    """The images given to the last pass are compared, which say more than right or wrong."""
    model = create("float", "resnet18", width=4).eval()
    images, states = pictures(18), []
    whole = scoring.correct(model, images, protocol, on_batch=lambda f: states.append(f))
    scored = passes[-1][0]
    assert [state.shape[1] for state in states] == [5, 10, 15, 18]
    more = torch.cat([states[0], states[0][:, :1]], 1)  # not whole batches
    for state in [states[0], states[2], more]:
        passes.clear()
        assert torch.equal(scoring.correct(model, images, protocol, found=state), whole)
        assert torch.equal(passes[-1][0], scored)
    passes.clear()
    assert torch.equal(scoring.correct(model, images, protocol, found=states[3]), whole)
    assert not passes


@pytest.mark.usefixtures("small_batches")
def test_batches_of_images_meet_noise_of_their_own(passes):
    model = create("float", "resnet18", width=4).eval()
    scoring.correct(model, pictures(10), Protocol(lam=1.0))
    assert len({tuple(weights.flatten().tolist()) for _, weights in passes}) == 20  # ten a batch


def test_only_networks_without_noise_are_attacked_in_batches_of_any_size():
    images, sizes = pictures(150), []
    for method, lam in (("plain", 0.0), ("float", 0.0), ("float", 1.0)):
        model, done = create(method, "resnet18", width=4).eval(), []
        scoring.correct(model, images, Protocol(lam=lam), on_batch=lambda f, d=done: d.append(f))
        sizes.append([tuple(found.shape) for found in done])
    assert sizes == [[(1, 150)], [(1, 100), (1, 150)], [(10, 100), (10, 150)]]


def test_rand_is_the_count_of_the_package_driven_directly():
    torch.manual_seed(0)
    model, counts = create("float", "resnet18", width=4, alpha=1.25).eval(), []
    images = pictures(20)
    images = Images(images.images, model(images.float(slice(0, 20)), 0.0).argmax(1))
    for seed in (0, 1, 4):
        how = {"eps": 0.05, "steps": 3, "eot": 2, "seed": seed}
        protocol = Protocol(lam=1.0, attack="autoattack", version="rand", **how)
        theirs = AutoAttack(
            scoring.function(model, protocol),
            **{"eps": 0.05, "version": "rand", "seed": scoring.stream("attack", seed)},
        )
        theirs.apgd.n_iter, theirs.apgd.eot_iter = 3, 2
        with under_attack(model):
            torch.manual_seed(theirs.seed)
            x = images.float(slice(0, 20)).contiguous()
            _, predicted = theirs.run_standard_evaluation(x, images.labels, batch_size=20)
        hits = scoring.correct(model, images, protocol)
        assert torch.equal(hits, (predicted == images.labels)[None])
        counts.append(int(hits.sum()))
    assert len(set(counts)) > 1


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("attack", ["none", "pgd", "autoattack"])
def test_progress_rises_to_one_within_batches_of_autoattack(attack):
    shares = []
    model = create("plain", "resnet18", width=4).eval()
    images = pictures(10)
    images = Images(images.images, model(images.images.float() / 255).argmax(1))
    protocol = Protocol(attack=attack, eps=0.001, steps=2, queries=20)
    scoring.correct(model, images, protocol, shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0
    inside = [share for share in shares if share not in (0.5, 1.0)]
    assert bool(inside) is (attack == "autoattack")


def partial_file(run, protocol):
    return run.folder / "evaluations" / f"{protocol.key}.partial.json"


def batches(run, protocol):
    """Evaluate and return the record and the number of batches that took."""
    calls = []
    return evaluate.evaluate(run, protocol, calls.append), len(calls)


NOISY = Protocol(lam=1.0, attack="pgd", steps=1, eps=0.25, images=20)


@pytest.fixture
def stopped(small_batches):
    """A run, the record of an uninterrupted evaluation, and one that stopped after two batches."""
    run = runs.fit(RECIPE)
    whole = evaluate.evaluate(run, NOISY)
    (run.folder / "evaluations" / f"{NOISY.key}.json").unlink()

    def stop(done):
        if done >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(run, NOISY, stop)
    return run, whole


def test_a_stopped_evaluation_is_no_record_and_loses_no_batch_that_was_done(stopped):
    run, whole = stopped
    assert not evaluate.find(run, NOISY)
    assert store.read_signed(partial_file(run, NOISY))["n"] == 10
    record, measured = batches(run, NOISY)
    assert measured == 2 and record["bits"] == whole["bits"]
    path = partial_file(run, NOISY).with_name(f"{NOISY.key}.json")
    assert [*path.parent.iterdir()] == [path]
    path.rename(partial_file(run, NOISY))  # where a kill before its last move leaves it
    again, measured = batches(run, NOISY)
    assert measured == 0 and again["bits"] == whole["bits"] and [*path.parent.iterdir()] == [path]


OTHER = {
    **{name: signed(**{name: "0"}) for name in ("code", "data_fingerprint")},
    **{name: signed(**{name: "0"}) for name in ("recipe_key", "weights_sha256")},
    "protocol": signed(protocol=Protocol().to_dict()),
    "device": signed(device={}),
}
ODD = {
    "bits that are none": signed(bits="zz"),
    "bits of another shape": signed(bits=5),
    "a number that is none": signed(n="x"),
    "no number": signed(n=None),
    "too many images": signed(n=400),
    "seconds that are none": signed(seconds="a"),
    "no longer signed": lambda path: path.write_text(path.read_text().replace("0", "1", 1)),
}


@pytest.mark.parametrize("harm", [*OTHER.values(), *ODD.values()], ids=[*OTHER, *ODD])
def test_a_stopped_evaluation_of_something_else_or_damaged_is_not_used(stopped, harm):
    run, whole = stopped
    path = partial_file(run, NOISY)
    harm(path)
    record, measured = batches(run, NOISY)
    assert measured == 4 and record["bits"] == whole["bits"]
    assert not path.exists()
    assert bool(list(path.parent.glob("*.damaged-1"))) == (harm in ODD.values())


def test_training_anew_removes_a_partial_evaluation(stopped):
    run, _ = stopped
    runs.fit(RECIPE, fresh=True)
    assert not (run.folder / "evaluations").exists()


def test_states_are_written_at_most_every_few_seconds(small_batches, monkeypatch):
    run = runs.fit(RECIPE)
    written = []
    original = store.write_signed
    monkeypatch.setattr(store, "write_signed", lambda p, c: written.append(p) or original(p, c))
    evaluate.evaluate(run, NOISY)
    assert [path.suffixes for path in written] == [[".partial", ".json"]]
    monkeypatch.setattr(evaluate, "SAVE_EVERY", 0.0)
    written.clear()
    evaluate.evaluate(run, dataclasses.replace(NOISY, seed=1))
    assert [path.suffixes for path in written] == [[".partial", ".json"]] * 5
