"""The rows of metrics.csv that accuracies make."""

from dataclasses import replace

import pytest
import torch

from lib import evaluate, measure
from lib.errors import UserError
from lib.measure import accuracies, accuracy_row
from lib.methods import PgdAt
from lib.protocol import Protocol
from lib.recipe import Attack
from lib.studies import ARTIFACTS
from lib.study import Builder
from tests.tiny import digits


def test_an_attack_of_another_radius_than_the_training_says_so_and_no_two_rows_are_alike():
    study = ARTIFACTS["dnr/fig4_attack_strength"]("ci", [0])
    job, record = study.jobs[0], {"correct": 3, "n": 4, "bits": "1110"}
    own = job.recipe.attack.eps
    rows = [(p, accuracy_row(study, job, p, record)) for p in job.protocols]
    for protocol, row in rows:
        other = protocol.attack != "none" and protocol.eps != own
        assert row["detail"] == (f"eps {protocol.eps:.4g}" if other else None)
    details = {row["detail"] for _, row in rows}
    assert {None, f"eps {own / 2:g}", f"eps {own * 2:g}"} <= details
    assert len({(row["attack"], row["detail"]) for _, row in rows}) == len(rows)


CLEAN = Protocol(images=6)
BALLS = [
    Protocol(attack="pgd", images=6, eps=0.1),
    Protocol(attack="pgd", images=6, eps=0.5, norm="l2"),
    Protocol(attack="pgd", images=6, eps=2.0, norm="l1-sparse"),
]


def records(*texts, protocols=(CLEAN, *BALLS)):
    hits = [torch.tensor([[c == "1" for c in draw] for draw in t.split()]) for t in texts]
    return {
        p: {"n": h.shape[1], "correct": int(h.sum()), "bits": evaluate.pack(h)}
        for p, h in zip(protocols, hits, strict=True)
    }


def union(study, job, found):
    rows = accuracies(study, replace(job, protocols=tuple(found)), found)
    return [row for row in rows if row["attack"] == "union"]


def test_an_image_counts_for_the_union_if_it_withstands_every_attack_and_not_by_averages():
    study = ARTIFACTS["dnr/fig4_attack_strength"]("ci", [0])
    job = replace(study.jobs[0], union=True)
    found = records("111110", "110011", "011011", "111001")
    (row,) = union(study, job, found)
    # images 2 and 6; what is wrong without attack does not matter to attacks that find it right
    assert (row["value"], row["n"], row["attack"]) == (pytest.approx(100 * 2 / 6), 6, "union")
    assert row["detail"] is None and row["metric"] == "robust_acc"
    assert evaluate.unpack(row["bits"], 6).tolist() == [[False, True, False, False, False, True]]
    assert min(r["correct"] for r in found.values()) == 4  # of single attacks, more than 2
    assert union(study, study.jobs[0], found) == []
    each = records("11 01", "01 11", "11 10", "11 11")  # of two draws of noise
    (row,) = union(study, job, each)
    assert row["value"] == 100 * 2 / 4
    for one in ({"images": 5}, {"split": "val"}):
        others = [CLEAN, *BALLS[:2], replace(BALLS[2], **one)]
        with pytest.raises(UserError, match="different images"):
            union(study, job, records(*["111111"] * 4, protocols=others))


def test_a_study_that_asks_for_it_measures_the_union_of_its_attacks(results):
    recipe = digits(PgdAt(), attack=Attack(0.1, 1), epochs=1)
    builder = Builder("dnr/fig4_attack_strength", "ci")
    sparse = {"attack": "pgd", "norm": "l1-sparse", "eps": 3.0, "step": 1.0, "restarts": 2}
    l2 = {"attack": "pgd", "norm": "l2", "eps": 0.5, "step": 0.2, "steps": 3}
    attacks = [{"attack": "pgd", "steps": 3}, l2, sparse]
    builder.add("AT", recipe, (0.0,), attacks, union=True, images=40)
    study = builder.study()
    rows = measure.measure(study)
    names = ["none", "pgd3", "pgd3-l2-step0.2", "pgd7x2-l1-sparse-step1", "union"]
    assert list(rows["attack"]) == names
    bits = [evaluate.unpack(text, 40) for text in rows["bits"]]
    assert torch.equal(bits[-1], bits[1] & bits[2] & bits[3])
