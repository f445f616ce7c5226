"""The files of an artifact: whole, deterministic, and telling how they came about."""

import io

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageChops

from lib import artifacts, claims, device, report, store
from lib.errors import UserError
from lib.studies import smart

pytestmark = pytest.mark.usefixtures("results")
STUDY = smart.table1_mask_density("quick", [0, 1], {"train.epochs": 3})
METRICS = pd.DataFrame(
    {"value": [1159402496.0, 12.3456789], "n": [10**6, 600], "metric": ["macs", "clean_acc"]}
)
CLAIMS = claims.table([{"id": "a", "claim": "one is one", "verdict": "reproduced"}])


def drawing() -> Figure:
    figure = Figure(figsize=(3.3, 2))
    figure.subplots().plot([0, 1], [0, 1])
    return figure


def test_the_same_numbers_and_figure_give_the_same_bytes_and_counts_keep_their_digits():
    made = []
    for _ in range(2):
        artifacts.save(STUDY, METRICS, CLAIMS, figure=drawing())
        made.append({f.name: f.read_bytes() for f in STUDY.folder.iterdir() if f.stem != "run"})
    assert made[0] == made[1] and len(made[0]) == 4
    frame = pd.read_csv(STUDY.folder / "metrics.csv")
    assert frame["value"].tolist() == [1159402496.0, 12.3456789]


def test_a_png_is_small_and_looks_like_the_full_one():
    full, figure = io.BytesIO(), drawing()
    figure.savefig(full, format="png", dpi=200)
    small = artifacts.png(figure)
    assert len(small) < full.getbuffer().nbytes
    one, other = (Image.open(file).convert("L") for file in (full, io.BytesIO(small)))
    assert one.size == other.size
    assert max(ImageChops.difference(one, other).getextrema()) < 40


def test_a_table_is_written_in_both_forms_and_escaped():
    table = pd.DataFrame({"method": ["A & B"], "clean accuracy, %": ["95.3 ± 0.4"]})
    artifacts.save(STUDY, METRICS, CLAIMS, table=table)
    assert "| A & B" in (STUDY.folder / "table.md").read_text()
    assert r"A \& B" in (STUDY.folder / "table.tex").read_text()


HERE, ROWS = f"preset {STUDY.results}", [("robust_acc", 100), ("clean_acc", 600)]
COUNTS = pd.DataFrame([*ROWS, ("robust_acc", 600), ("train_ratio", 15)], columns=["metric", "n"])


@pytest.mark.parametrize(
    ("study", "metrics", "weights", "text"),
    [
        (STUDY, METRICS, False, f"{HERE}, n = 600 test images"),
        (STUDY, COUNTS, False, f"{HERE}, n = 100 or 600 test images"),
        (smart.fig2_layer_sensitivity("quick"), METRICS, True, "preset quick, ResNet-18, width 8"),
        (smart.fig5_fgsm("paper"), METRICS, False, ""),
    ],
)
def test_the_stamp_names_preset_and_images_or_networks_below_paper(study, metrics, weights, text):
    assert artifacts.stamp(study, metrics, weights) == text


@pytest.mark.parametrize(
    ("preset", "dataset", "shown"),
    [
        ("quick", "cifar10", "cifar10"),
        ("paper", "imagefolder:/home/someone/my cats", "my cats"),
        ("quick", "imagefolder:/home/someone/cats/@32", "cats"),
        ("quick", "imagefolder:/home/some@one/a@b@128", "a@b"),
    ],
)
def test_the_stamp_names_overridden_data_and_never_where_a_folder_lies(preset, dataset, shown):
    study = smart.fig5_fgsm(preset, [0], {"data.dataset": dataset})
    text = artifacts.stamp(study, METRICS)
    assert text == f"preset {study.results}, {shown}, n = 600 test images"


def test_the_name_of_a_folder_is_no_formula_in_a_figure():
    study = smart.fig5_fgsm("quick", [0], {"data.dataset": "imagefolder:/a$_{$b"})
    figure = drawing()
    figure.text(0, 0, artifacts.stamp(study, METRICS))
    artifacts.png(figure)


def test_saving_by_hand_removes_what_a_batch_noted_of_older_files():
    artifacts.save(STUDY, METRICS, CLAIMS)
    assert artifacts.recorded(STUDY.folder) is None
    made = artifacts.outputs(STUDY.folder)
    store.write_json(STUDY.folder / artifacts.INPUTS, {"outputs": made})
    store.write_json(STUDY.folder / artifacts.FAILURE, {"reason": "a bug"})
    assert artifacts.recorded(STUDY.folder) == made and set(made) == {
        *("claims.csv", "metrics.csv", "run.json")
    }
    artifacts.save(STUDY, METRICS, CLAIMS, figure=drawing())
    assert artifacts.recorded(STUDY.folder) is None
    (entry,) = report.collect(STUDY.folder.parents[1])
    assert entry.status == "made by hand" and "figure" in entry.files


def test_a_note_that_cannot_be_removed_is_one_sentence():
    (STUDY.folder / artifacts.INPUTS).mkdir(parents=True)
    with pytest.raises(UserError, match="Cannot write"):
        artifacts.save(STUDY, METRICS, CLAIMS)


def test_the_record_names_the_command_and_every_recipe():
    record = artifacts.record(STUDY, METRICS)
    assert record["command"] == (
        "./run_all.sh smart/table1_mask_density --seeds 0,1 --set train.epochs=3"
    )
    assert set(record["runs"]) == set(STUDY.recipes) and record["from_records"]


def test_the_record_says_where_times_were_measured_and_only_of_times():
    rows = [("macs", None), ("clean_acc", 600), ("speed_up", 15)]
    metrics = pd.DataFrame(rows, columns=["metric", "n"])
    here = device.describe()
    timed_on = {"device": here["device"], "threads": here["threads"]}
    assert artifacts.record(STUDY, metrics)["timed_on"] == timed_on
    assert "timed_on" not in artifacts.record(STUDY, metrics[:2])
