"""What notebooks show alike: code as it is written, and what others judge."""

import inspect

import pytest

from lib import notebook
from lib.intervals import Estimate
from lib.rows import frame, row
from lib.studies import dnr, smart
from lib.trainers.objectives import two_paths
from lib.trainers.pruners.momentum import SparseMomentum


@pytest.mark.parametrize("thing", [two_paths, SparseMomentum.rewire, Estimate])
def test_source_shows_the_code_under_its_decorators_with_a_link_to_its_line(thing):
    shown = notebook.source(thing).data
    first = inspect.getsource(inspect.unwrap(thing)).strip().splitlines()[0]
    link, code = shown.split("\n\n```python\n")
    assert code.startswith(first) and code.endswith("\n```")
    assert f"#L{inspect.getsourcelines(inspect.unwrap(thing))[1]})" in link


def test_a_citation_tells_the_verdict_and_who_judges_it():
    lines = notebook.cited("smart-adds", "smart-adds-text").splitlines()
    assert len(lines) == 2 and all("audit/published_numbers" in line for line in lines)
    assert "11.38 M, reproduced" in lines[0] and "11.38 M, not reproduced" in lines[1]


def test_stated_claims_say_how_they_are_judged_and_why_not():
    text = notebook.stated(smart.fig2_layer_sensitivity("ci")).data
    assert "it holds in all cases" in text and "not judged: the plan trains no dense" in text
    assert notebook.stated(smart.fig3_bn_statistics("ci")).data.count("in 50% of the cases") == 2


def test_a_study_that_attacks_nothing_is_checked_by_its_clean_accuracies():
    study = dnr.table3_clean_pruning("ci")
    bounds = {"metric": "clean_acc", "value": 50.0, "ci_low": 40.0, "ci_high": 60.0}
    rows = [row(study, job.recipe, method=job.label, lam=0.0, **bounds) for job in study.jobs]
    notebook.check(study, frame(rows))
    with pytest.raises(AssertionError):
        notebook.check(study, frame(rows[1:]))
