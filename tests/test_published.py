"""The transcribed tables parse, are tidy, and carry the numbers of the papers."""

import pandas as pd
import pytest

from lib import paths, published, studies
from lib.claims import TEXT, _printed, stated
from lib.errors import UserError
from lib.intervals import select
from lib.judge import judge

TABLES = [name for name in published.names() if not name.endswith("/text")]
UNION = ("union", "pgd100x10", "pgd100x10-l1-sparse", "pgd500x10-l2")
ORDER = (*UNION, "pgd100", "pgd50", "pgd7", "fgsm", "none")
TEXTS = [name for name in published.names() if name.endswith("/text")]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_tidy_and_names_its_source_and_attack(name):
    frame = published.read(name)
    assert {"method", "lam", "metric", "value", "source"} <= set(frame.columns)
    assert pd.api.types.is_numeric_dtype(frame["value"])
    assert frame["value"].notna().all() and frame["source"].notna().all()
    assert not frame.duplicated([c for c in frame.columns if c != "value"]).any()
    accuracy = frame[frame["metric"].isin(("clean_acc", "robust_acc"))]
    assert accuracy["value"].between(0, 100).all()
    assert ((accuracy["attack"] == "none") == (accuracy["metric"] == "clean_acc")).all()
    index = ["dataset", "backbone", "method", "lam"]
    pairs = accuracy.pivot_table(index=index, columns="attack", values="value")
    order = [name for name in ORDER if name in pairs]  # the strongest first
    assert set(pairs) <= set(order) and (pairs[order].diff(axis=1).iloc[:, 1:] > 0).all().all()


@pytest.mark.parametrize("name", TEXTS)
def test_numbers_in_text_have_one_key_and_a_place_each(name):
    frame = published.read(name)
    assert list(frame.columns) == ["key", "value", "where"]
    assert frame["key"].is_unique and frame.notna().all().all()
    assert len(published.text(name.split("/")[0])) == len(frame)


T1, T2 = "smart/table1_mask_density", "smart/table2_comparison"
D2 = "dnr/table2_admm_lasso"
G4 = "gdws/table4_hydra"
SMART = "SMART [D D S S] 0.25"


@pytest.mark.parametrize(
    ("name", "where", "value"),
    [
        (T1, {"pattern": "SSSS", "lam": 1.0, "metric": "robust_acc"}, 9.68),
        (T1, {"method": SMART, "lam": 1.0, "metric": "clean_acc"}, 89.04),
        (T2, {"method": "OAT", "lam": 0.0, "metric": "clean_acc"}, 92.82),
        (T2, {"method": "PGD-AT", "lam": 1.0, "metric": "robust_acc"}, 55.72),
        (T2, {"method": "FLOAT", "lam": 1.0, "metric": "add_overhead_m"}, 21.28),
        ("float/table1_variants", {"method": "FLOATS-c", "metric": "channel_reduction"}, 1.54),
        ("smart/text", {"key": "add_ops_m"}, 11.84),
        (D2, {"backbone": "resnet18", "method": "L1 lasso", "attack": "fgsm"}, 55.20),
        ("dnr/table3_clean_pruning", {"method": "AMC", "metric": "error_delta"}, 0.02),
        ("dnr/table4_dynamic_l2", {"method": "channel without", "attack": "pgd7"}, 41.25),
        ("float/text", {"key": "robust_gain_vs_pgd_at"}, 34.92),
        ("gdws/table1_networks", {"backbone": "wrn28_4", "method": "GDWS", "metric": "fps"}, 65),
        (G4, {"backbone": "wrn28_4", "method": "HYDRA p95 + GDWS", "attack": "pgd100"}, 54.22),
        (G4, {"backbone": "vgg16_hydra", "method": "HYDRA p90 + GDWS", "metric": "size_mib"}, 31.5),
        ("gdws/table5_imagenet", {"method": "HYDRA p99", "metric": "robust_top5_acc"}, 28.83),
        ("gdws/table6_union", {"method": "GDWS strong", "attack": "union"}, 45.20),
    ],
)
def test_some_numbers_read_from_the_papers_a_second_time(name, where, value):
    assert select(published.read(name), **where)["value"].iloc[0] == value


def test_what_a_claim_prints_is_looked_up_where_it_stands():
    printed = stated().drop_duplicates("id").set_index("id")["value"]
    assert printed["smart-oat-macs"] == 15  # a cell of Table 2
    assert printed["smart-oat-ratio"] == 2.72 and printed["float-params"] == 21.28  # in the text
    assert printed["table1-dense"] == round(84.60 - 43.20, 9)  # the smaller of its two gaps
    assert printed["table2-robust-0"] == round(19.36 - 0.84, 9)  # the smallest of three methods
    assert printed["fig4-trades-robust"] == round(57.84 - 19.36, 9)  # one method at two λ
    assert printed["observations-released-shared"] == round(89.04 - 84.60, 9)
    assert printed["dnr-same-pgd"] == 40.62  # of several networks and attacks the first
    row = {"value": D2, "metric": "robust_acc", "a": "DNR", "b": "L1 lasso"}
    row = dict.fromkeys(TEXT, "") | row
    for each, some, attack, value in (
        ("", "", "", 43.21 - 42.01),
        ("dataset", "", "", 47.35 - 46.80),
        ("", "dataset", "", 43.21 - 42.01),
        ("dataset", "", "fgsm", 55.13 - 55.20),
    ):
        assert _printed(row | {"each": each, "some": some, "attack": attack}) == round(value, 9)


DENSE = {"dense": ["GDWS"]}
BOTH = {f"HYDRA p{p}": [f"HYDRA p{p} + GDWS"] for p in (90, 95, 99)}


@pytest.mark.parametrize(
    ("claim", "table", "pairs", "networks"),
    [
        ("fig1-gdws-fps", G4, DENSE, ["vgg16_hydra"]),
        ("fig1-admm-fps", "gdws/table3_admm", {"dense": ["ADMM p50", "ADMM p75"]}, ["vgg16_bn"]),
        ("table1-fps", "gdws/table1_networks", DENSE, None),
        ("table3-admm-fps", "gdws/table3_admm", {"dense": ["ADMM p50", "ADMM p75"]}, None),
        ("table4-hydra-fps-99", G4, {"dense": ["HYDRA p99"]}, ["wrn28_4"]),
        ("table4-gdws-fps", G4, {"HYDRA p99": ["GDWS"]}, None),
        ("table4-both-fps", G4, BOTH, None),
        ("table5-fps", "gdws/table5_imagenet", DENSE | BOTH, None),
    ],
)
def test_the_slowest_printed_gain_is_that_of_the_table(claim, table, pairs, networks):
    fps = published.read(table).query("metric == 'fps'").pivot_table("value", "backbone", "method")
    fps = fps.loc[networks or fps.index]
    gains = pd.concat([fps[m] / fps[of] for of, more in pairs.items() for m in more if of in fps])
    printed = stated().drop_duplicates("id").set_index("id")["value"]
    assert printed[f"gdws-{claim}"] == int(100 * gains.min()) / 100


def as_measured(name, artifact):
    """Return a printed table as if three seeds had measured it on a million images each."""
    rows = published.read(name)
    rows = rows[rows["metric"].isin(("clean_acc", "robust_acc"))]
    seeds = {0: -0.01, 1: 0.0, 2: 0.01}
    metrics = pd.concat(
        rows.assign(seed=s, n=1_000_000, value=rows["value"] + off) for s, off in seeds.items()
    )
    study = studies.artifact(artifact)("quick", [0, 1, 2])
    counted = {row["id"]: pd.Series([True]) for row in stated(artifact).to_dict("records")
               if row["test"] == "count"}  # fmt: skip
    return judge(study, metrics, counted).set_index("id")["verdict"]


@pytest.mark.parametrize(("artifact", "table"), [(T1, T1), (T2, T2), ("smart/fig1_pareto", T2)])
def test_the_papers_own_tables_bear_out_what_they_claim(artifact, table):
    assert set(as_measured(table, artifact)) == {"reproduced"}


def test_a_misspelt_table_gets_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'smart/table2_comparison'"):
        published.read("smart/table2_comparisons")


def test_the_readme_lists_every_table():
    readme = (paths.ROOT / "data" / "README.md").read_text()
    assert all(f"`reference/{name}.csv`" in readme for name in published.names())
