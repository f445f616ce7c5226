"""The claims in data/reference name methods, trade-offs and tests that there are."""

import pytest

from lib import claims
from lib.compare import COMPARISONS, RANGES, TESTS
from lib.studies import ARTIFACTS

CLAIMS = claims.stated().to_dict("records")
COMPARED = [one for one in CLAIMS if one["test"] in COMPARISONS and not one["why_not"]]


@pytest.mark.parametrize("claim", COMPARED, ids=[claim["id"] for claim in COMPARED])
def test_a_claim_compares_what_its_artifact_plans(claim):
    assert {*claim["each"].split(), *claim["some"].split()} <= set(RANGES) and claim["metric"]
    jobs = ARTIFACTS[claim["artifact"]]("paper", [0]).jobs
    lams = {(job.label, job.lam(p)) for job in jobs for p in job.protocols}
    attacks = {p.name for job in jobs for p in job.protocols}
    attacks |= {"union" for job in jobs if job.union}
    for method, lam in ((claim["a"], claim["lam_a"]), (claim["b"], claim["lam_b"])):
        for name in filter(None, method.split("; ")):
            assert {(name, float(x)) for x in lam.split()} <= lams
            assert name in {job.label for job in jobs}
    assert set(claim["attack"].split()) <= attacks


def test_every_claim_has_an_id_of_its_own_a_place_and_a_test():
    assert len({claim["id"] for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim["where"] and claim["claim"], claim["id"]
        assert claim["limit"] >= 0 or claim["test"] in ("above", "count"), claim["id"]
        assert claim["test"] in TESTS and claim["kind"] in ("analytic", "measured"), claim["id"]
