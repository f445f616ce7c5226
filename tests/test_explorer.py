"""The explorer of a report: it shows what was measured, whole and offline, or says why not."""

import base64
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest

from lib import artifacts, claims, paths, report
from lib.report import explorer
from lib.report.collect import DAMAGED
from lib.samples import pack
from tests.explored import CLEAN, explored
from tests.test_report import Page, note

RECORDED = sorted((paths.ROOT / "results").glob("*/beyond/*/explorer.json"))


@pytest.fixture
def shown(results):
    """Return what writes data and returns the page that shows their artifact then."""

    def show(data, noted=True):
        home = results / "quick/beyond/explore_lambda"
        home.mkdir(parents=True, exist_ok=True)
        rows = [{"id": n, "claim": f"Claim {n}", "verdict": "partly"} for n in ("a", "b<c d>")]
        claims.table(rows).to_csv(home / "claims.csv", index=False)
        (home / artifacts.EXPLORER).write_text(json.dumps(data))
        if noted:
            note(home)
        report.build(results)
        return (results / "quick/index.html").read_text()

    return show


def test_the_page_holds_the_data_labels_all_controls_and_fetches_nothing(shown):
    data = explored() | {"dataset": "</script><b>&amp;"}
    page = Page(html := shown(data))
    (block,) = re.findall('id="explorer-data">(.*?)</script>', html)
    assert json.loads(block) == data and "<" not in block
    assert not page.open and len(page.ids) == len({*page.ids})
    assert {*re.findall(r'(?:for|aria-labelledby)="([^"]+)"', html)} <= {*page.ids}
    controls = re.findall(r'<(?:select|input)[^>]* id="([^"]+)"', html)
    assert len(controls) == 6 and {*controls} <= {*re.findall(r'<label for="([^"]+)"', html)}
    assert not [link for link in page.links if re.match(r"(?!data:,)\w+:|//", link)]
    code = html.replace('"http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttp|import\(", code)
    (script,) = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in html and f"script-src 'sha256-{digest}'" in html
    for place in ("beyond-explore_lambda-a", "beyond-explore_lambda-b-c-d-"):  # of claims
        assert place in page.ids and f'href="#{place}" aria-label="Link' in html


def test_data_that_were_edited_or_damaged_are_not_shown(shown):
    shown(explored())
    assert "edited: explorer.json" in (html := shown({}, noted=False))
    assert "explorer-data" not in html and "explorer-data" not in (html := shown({}))
    assert "nothing of it is shown: explorer.json" in html


WRONG = {
    **dict.fromkeys(explored()),
    **{"strengths": [1.0, 0.0, 2.0], "classes": ["zero", "one"], "size": 10**9},
    **{"samples.pixels": pack(CLEAN.repeat(9999, 1, 1, 1)), "networks.0.cost.macs": float("nan")},
    **{"networks.1.lams.0.scores.1": [50, 51, 52, 9], "networks.0.lams.2.noise": "AAAA"},
    **{"networks.1.lams.0.guesses.0.0": [3, 0.5], "networks.1.lams.1.scores": [[5, 4, 6, 9]]},
}


@pytest.mark.parametrize("where", WRONG)
def test_no_other_data_are_taken(tmp_path, where):
    data = inside = json.loads(json.dumps(explored()))
    *path, last = (int(name) if name.isdigit() else name for name in where.split("."))
    for name in path:
        inside = inside[name]
    inside[last] = WRONG[where]
    (tmp_path / "x.json").write_text(json.dumps(data))
    with pytest.raises(DAMAGED):
        explorer.read(tmp_path / "x.json")


@pytest.mark.parametrize("path", RECORDED, ids=[path.parts[-4] for path in RECORDED])
def test_recorded_data_are_small_and_the_numbers_of_the_metrics(path):
    assert path.stat().st_size < 500_000
    rows = pd.read_csv(path.with_name("metrics.csv"))
    rows = rows[rows["metric"].isin(("clean_acc", "robust_acc"))]
    networks = json.loads(explorer.read(path))["networks"]
    scores = [one for n in networks for state in n["lams"] for one in state["scores"]]
    np.testing.assert_allclose(rows[["value", "ci_low", "ci_high", "n"]], scores)
