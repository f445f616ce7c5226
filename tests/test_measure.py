"""The rows of metrics.csv that accuracies make."""

from lib.measure import accuracy_row
from lib.studies import ARTIFACTS


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
