"""Flags of robust accuracies: each check finds its case and not the next one, and all are shown."""

from dataclasses import replace

import pandas as pd
import pytest

from lib import artifacts, flags, notebook, tables
from lib.assess import CHECKS as ACTIVE
from lib.flags import CHECKS, Score, found
from lib.measure import accuracies
from lib.protocol import Protocol
from lib.report import collect
from lib.rows import frame
from lib.studies import ARTIFACTS, float_, gdws

N = 2_000
CLEAN = Protocol()
FGSM, PGD7 = Protocol(attack="fgsm"), Protocol(attack="pgd")
PGD20 = replace(PGD7, steps=20)
AA = Protocol(attack="autoattack", steps=100)
RAND = replace(AA, version="rand", eot=20)
WIDE = replace(PGD20, eps=16 / 255)
LINF = frozenset({("linf", 8 / 255)})


def record(value, n=N):
    """Return an evaluation in which the first images are right."""
    right = round(value / 100 * n)
    return {"n": n, "correct": right, "bits": f"{(2**right - 1) << (n - right):0{(n + 3) // 4}x}"}


def score(protocol, values, n=N, **known):
    """Return a score of a protocol; values are the accuracies of others and its own."""
    values = {p: v for p, v in ({CLEAN: 90.0, PGD20: 40.0} | values).items() if v}
    rows = {p: {"value": v, "n": n, "bits": record(v, n)["bits"]} for p, v in values.items()}
    return Score(protocol, rows, **known)


@pytest.mark.parametrize(
    ("mark", "doubtful", "sound"),
    [
        ("S", score(PGD20, {FGSM: 38.0}), score(PGD20, {FGSM: 39.9})),  # two images are chance
        ("E", score(PGD20, {PGD7: 38.0}), score(PGD7, {PGD7: 38.0})),
        ("E", score(AA, {AA: 45.0}), score(AA, {AA: 39.0})),
        ("M", score(PGD20, {AA: 27.0}), score(PGD20, {AA: 31.0})),
        ("N", score(PGD20, {}, noisy=True), score(PGD20, {})),
        ("N", score(AA, {AA: 39.0}, noisy=True), score(RAND, {RAND: 39.0}, noisy=True)),
        ("C", score(PGD20, {CLEAN: 38.0}), score(PGD20, {CLEAN: 40.0})),
        ("R", score(WIDE, {WIDE: 43.0}), score(WIDE, {WIDE: 20.0})),
        ("b", score(PGD7, {PGD7: 44.0}), score(PGD7, {PGD7: 40.9})),
        ("s", score(FGSM, {FGSM: 50.0, PGD20: None}), score(PGD20, {})),
        ("s", score(PGD7, {PGD7: 41.0, PGD20: None, WIDE: 9.0}), score(PGD7, {PGD7: 41.0})),
        ("q", score(replace(AA, queries=100), {}), score(AA, {})),
        ("q", score(replace(RAND, eot=3), {}, noisy=True), score(RAND, {}, noisy=True)),
        ("v", score(RAND, {}), score(RAND, {}, noisy=True)),
        ("f", score(replace(PGD20, noise="frozen"), {}, noisy=True), score(PGD20, {}, noisy=True)),
        ("r", score(WIDE, {}, trained=LINF), score(PGD20, {}, trained=LINF)),
        ("c", Score(PGD20, {PGD20: None}), score(PGD20, {})),
        ("n", score(PGD20, {}, n=999), score(PGD20, {}, n=1_000)),
        ("d", score(PGD20, {}, seeds=2), score(PGD20, {}, seeds=3)),
        ("e", score(replace(PGD20, weights="best"), {}), score(PGD20, {})),
        ("t", score(replace(PGD20, split="val"), {}), score(PGD20, {})),
    ],
)
def test_each_check_finds_its_case_and_not_the_next_one(mark, doubtful, sound):
    assert mark in found(doubtful) and mark not in found(sound)


def test_a_sound_accuracy_has_no_flag_and_marks_are_told_apart():
    sound = {FGSM: 45.0, PGD7: 40.5, AA: 39.5, WIDE: 10.0}
    assert found(score(PGD20, sound, trained=LINF)) == found(score(CLEAN, sound)) == ""
    all_marks = [check.mark for check in (*CHECKS, *ACTIVE)]
    assert len(set(all_marks)) == len(all_marks)
    assert not any(set(r"\%&#_$<|") & set(check.says) for check in CHECKS)  # as TeX would read them


@pytest.fixture
def measured():
    """The rows of a study under many attacks, each of which leaves 3 % fewer images than clean."""
    study = float_.fig10_other_attacks("ci", [0, 1, 2])
    found = {False: record(50.0), True: record(47.0)}
    each = [(job, {p: found[p.attack != "none"] for p in job.protocols}) for job in study.jobs]
    return study, frame(row for job, of in each for row in accuracies(study, job, of))


def test_a_study_is_flagged(measured):
    _, rows = measured
    robust = rows[rows["metric"] == "robust_acc"]
    assert rows.loc[rows["metric"] == "clean_acc", "flags"].eq("").all()
    one = (robust["method"] == "FLOAT") & (robust["lam"] > 0)
    averaged = robust["attack"].isin(["aa-rand", "aa-rand-all"])
    assert robust["flags"].str.contains("N").equals(one & ~averaged)
    assert robust["flags"].str.contains("v").equals(averaged & ~one)
    assert not robust["flags"].str.contains("[SEMCRbdn]").any()


def test_flags_stand_in_tables_captions_and_the_report(measured, results):
    study, rows = measured
    of = rows[(rows["method"] == "FLOAT") & (rows["lam"] == 1) & (rows["attack"] == "fgsm")]
    assert tables.cell(of).endswith(" †N") and "†" not in tables.cell(rows[:1])
    outline = tables.outline(rows, ["method", "seed", "lam"])
    assert outline.loc[("FLOAT", 0, 1.0), ["clean", "fgsm"]].tolist() == ["50.0", "47.0 †N"]
    assert "gradients of a single draw" in outline._repr_html_()
    assert artifacts.stamp(study, rows).count("flags: noise in the network") == 1
    ways = tables.protocols(study).set_index("attack")["flags"]
    assert "single draw" in ways["fgsm"].iloc[-1] and ways["none (clean)"].eq("").all()
    table = pd.DataFrame({"RA": [tables.cell(of)]})
    shown = notebook.verdicts(study, rows, table=table).data
    said = flags.legend(rows)
    count = rows["flags"].str.contains("N").sum()
    assert f"N, noise in the network, but gradients of a single draw ({count})" in said
    assert shown.endswith(said) and said in (study.folder / "table.md").read_text()
    assert said in (study.folder / "table.tex").read_text()
    (entry,) = collect(study.folder.parents[1])
    assert entry.flags == said


def test_a_union_has_the_flags_that_its_attacks_share(monkeypatch):
    study = gdws.table6_union("ci", [0])
    job = next(job for job in study.jobs if job.union)
    records = {p: record(60.0 if p.attack == "none" else 40.0, n=200) for p in job.protocols}
    marks = (rows := frame(accuracies(study, job, records)))["flags"]
    single = [set(of) for of in marks[rows["metric"].eq("robust_acc")][:-1]]
    assert set(marks.iloc[-1]) == set.intersection(*single) and "n" in marks.iloc[-1]
    assert [p.norm for p in job.protocols if "r" in flags.of_job(job)[p]] == ["l2"]
    given = dict(zip(job.protocols, ["", "n", "", "r"], strict=True))  # clean, and three norms
    monkeypatch.setattr(flags, "of_job", lambda *_: given)
    assert not accuracies(study, job, records)[-1]["flags"]
    part = accuracies(study, replace(job, label="other"), dict([*records.items()][:3]))
    assert [row["flags"] for row in part] == ["", "n", ""]  # and no union
    rows["flags"] = [None, *marks[1:]]
    assert f"of {len(rows) - 1} " in flags.legend(rows.assign(metric="robust_acc"))


def test_every_plan_can_be_flagged_before_anything_is_measured():
    for plan in ARTIFACTS.values():
        study = plan("ci", [0])
        assert all(set(flags.of_job(job)) == set(job.protocols) for job in study.jobs)
