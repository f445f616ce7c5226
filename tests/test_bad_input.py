"""Wrong calls: one sentence, a status that is not zero, no traceback, and nothing lost."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from lib import data, models, paths, store
from lib.__main__ import main
from lib.attacks import pgd
from lib.errors import UserError
from lib.methods import PgdAt, Plain, Smart
from lib.protocol import Protocol
from lib.recipe import Attack
from tests.tiny import digits, files

RECIPE = digits(Plain(), attack=Attack(), epochs=1)
SHELF = [RECIPE]


@pytest.fixture
def results(tmp_path, monkeypatch, shelf, quiet):
    """Return a results folder that holds a finished run and the results of an artifact."""
    home = tmp_path / "results"
    monkeypatch.setattr(paths, "RESULTS", home)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shelf / "runs" / RECIPE.key, home / "runs" / RECIPE.key)
    folder = home / "local/ci/smart/fig5_fgsm"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("precious\n")
    return home


def refused(words: list[str], capsys: pytest.CaptureFixture, expected: str) -> None:
    """Check the one sentence and the status of a wrong call."""
    capsys.readouterr()
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert re.search(expected, lines[0]), lines[0]


CALLS = [  # words of the command line, what the sentence says
    ("rum", "Unknown command 'rum'; did you mean 'run'"),
    ("run smart/fig9", "Unknown artifact 'smart/fig9'; did you mean 'smart/fig"),
    ("run smrt", "Unknown artifact 'smrt'; did you mean 'smart'"),
    ("run smart/nothing*", "Unknown artifact"),
    ("run --why smart/table1_mask_densty", "did you mean 'smart/table1_mask_density'"),
    ("run --preset quik", "Unknown preset 'quik'; did you mean 'quick'"),
    ("run --jobs 0", "--jobs is 0 but must be at least 1"),
    ("run --jobs two", "invalid int value: 'two'"),
    ("run --timeout 0", "--timeout is 0 but must be at least 1"),
    ("run --timeout nan", "--timeout is nan"),
    ("run --executor slrum", "Unknown executor 'slrum'; did you mean 'slurm'"),
    ("run --slurm mem=1", "--slurm says how networks are submitted; add --executor slurm"),
    ("run --executor slurm --slurm mem", "--slurm takes NAME=VALUE, as in partition=gpu, not"),
    ("run --seeds zero", "--seeds takes whole numbers as in 0,1,2, not 'zero'"),
    ("run --seeds=", "--seeds takes whole numbers"),
    ("run --seeds=-1", "seed is -1 but must be"),
    ("run --seeds 1,1", "none twice"),
    ("run --set train.epochs", "--set takes FIELD=VALUE, as in train.epochs=30"),
    ("run --set train.epochs=1 --set train.epochs=2", "--set gives train.epochs twice"),
    ("run smart/fig5_fgsm --set train.epoch=3", "Unknown field of train 'epoch'; .*'epochs'"),
    ("run smart/fig5_fgsm --set train.epochs=many", "train.epochs must be of type int"),
    ("run smart/fig5_fgsm --set train.epochs=-1", "train.epochs is -1 but must be at least 0"),
    ("run smart/fig5_fgsm --set data.augment=1", "data.augment must be of type bool"),
    ("run smart/fig5_fgsm --set seed=3", "'seed' cannot be set"),
    ("run smart/fig5_fgsm --set method.gamma=1", "'method.gamma' names no field"),
    ("run smart/fig5_fgsm --set attack.eps=-0.1", "attack.eps is -0.1 but must be at least 0"),
    ("run smart/fig5_fgsm --set attack.eps=8", "attack.eps is 8 but pixels .* 8/255"),
    ("run smart/fig5_fgsm --set evaluation.eps=8", "eps is 8 but pixels .* 8/255"),
    ("run smart/fig5_fgsm --set train.epochs=99999999999999999999", "train.epochs must be a numb"),
    ("run smart/fig5_fgsm --set train.lr=1" + "0" * 400, "train.lr must be a number between"),
    ("run smart/fig5_fgsm --set data.dataset=imagefolder:x@\u00b2", "must end in a size"),
    ("run smart/fig5_fgsm --set evaluation.lam=1", "cannot be set"),
    ("run smart/fig5_fgsm --set method.overlap=0.9", "method.overlap is 0.9 but must be between"),
    ("run smart/fig5_fgsm --set data.dataset=cifar12", "Unknown data set 'cifar12'"),
    ("run smart/fig5_fgsm --set model.backbone=resnet17", "Unknown backbone 'resnet17'"),
    ("run smart/fig5_fgsm --fresh --from-records", "choose one"),
    ("run smart/fig5_fgsm --preset ci --from-records", "Nothing can be redrawn from records"),
    ("run smart --prest ci", "Unknown option '--prest'; did you mean '--preset'"),
    ("run --lst", "Unknown option '--lst'; did you mean '--list'"),
    ("run --sed=3", "Unknown option '--sed'; did you mean '--se"),
    ("run smart --seeds 0 1 x", "Unknown artifact 'x'"),
    ("run smart/fig5_fgsm --set attack.eps=8/0", "attack.eps must be of type float"),
    ("train smrt", "Unknown artifact 'smrt'; did you mean 'smart'"),
    ("data digits cifar10 --josn", "Unknown option '--josn'"),
    ("train smart/fig6", "Unknown artifact 'smart/fig6'"),
    ("train nothing.json", r"Cannot read the recipe nothing.json \(No such file"),
    ("train 0123456789abcdef", r"Cannot read the recipe .*0123456789abcdef"),
    ("train broken.json", "broken.json .it is not JSON"),
    ("train nested.json", "Cannot read the recipe nested.json .it is nested too deeply"),
    ("train unknown.json", "Unknown field of train 'epoch'; did you mean 'epochs'"),
    ("train lacking.json", "recipe lacks the field 'method'"),
    ("train method.json", "Unknown method 'smrat'; did you mean 'smart'"),
    ("train attack.json", "Unknown attack 'pdg'; did you mean 'pgd'"),
    ("train lam.json", "lam is 1.5 but must be between 0 and 1"),
    ("cost --method smarty --backbone resnet34", "Unknown method 'smarty'; .*'smart'"),
    ("cost --method smart --backbone resnet43", "Unknown backbone 'resnet43'; .*'resnet34'"),
    ("cost --method smart --backbone resnet34 --size 4", "size is 4 but must be between"),
    ("cost --method smart --backbone resnet34 --num-classes 0", "num_classes is 0"),
    ("cost --method smart", "The following arguments are required: --backbone"),
    ("data cifar", "Unknown data set 'cifar'; did you mean 'cifar10'"),
    ("report --preset cifra", "Unknown preset 'cifra'; did you mean 'cifar'"),
    ("report --preset cifar", "There are no such results"),
    ("prepare-notebooks --preset c copies", "Unknown preset 'c'"),
    ("prepare-notebooks good.json/copies", r"Cannot write good.json/copies/.*\(Not a directory\)"),
]


@pytest.mark.parametrize(("call", "expected"), CALLS, ids=[call for call, _ in CALLS])
def test_a_wrong_call_is_one_sentence_and_changes_nothing(call, expected, results, capsys):
    tree = RECIPE.to_dict()
    contents = {
        "broken": "{",
        "nested": "[" * 200_000,
        "good": json.dumps(tree),
        "unknown": json.dumps(tree | {"train": {"epoch": 3}}),
        "lacking": json.dumps({k: v for k, v in tree.items() if k != "method"}),
        "method": json.dumps(tree | {"method": {"kind": "smrat"}}),
        "attack": json.dumps({"recipe": tree, "protocols": [{"attack": "pdg"}]}),
        "lam": json.dumps({"recipe": tree, "protocols": [{"lam": 1.5}]}),
    }
    for name, content in contents.items():
        Path(f"{name}.json").write_text(content)
    before = files(results)
    refused(call.split(" "), capsys, expected)
    assert files(results) == before and not Path("copies").exists()


X, Y = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
WRONG = {  # in the library
    "eps": (lambda: Attack(eps=-0.1), "attack.eps is -0.1"),
    "eps of an attack": (lambda: pgd(lambda x: x, X, Y, -0.1, 0.01, 2), "eps is -0.1"),
    "eps nan": (lambda: Attack(eps=float("nan")), "attack.eps is nan"),
    "lam of training": (lambda: PgdAt(lam=1.2), "outside|between 0 and 1"),
    "lam of measuring": (lambda: Protocol(lam=-0.1), "lam is -0.1"),
    "overlap": (lambda: Smart(density=0.5, overlap=0.6), "method.overlap"),
    "overlap too small": (lambda: Smart(density=0.9, overlap=0.1), "method.overlap"),
    "images": (lambda: data.load("digits", "test", limit=601), "601 images were asked for"),
    "split": (lambda: data.load("digits", "tset"), "did you mean 'test'"),
    "method": (lambda: models.create("folat", "resnet18"), "did you mean 'float'"),
    "option": (lambda: models.create("float", "resnet18", alfa=1.0), "did you mean 'alpha'"),
}


@pytest.mark.parametrize(("call", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_refused_where_it_is_given(call, expected):
    with pytest.raises(UserError, match=expected) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_damaged_run_is_set_aside_and_never_loaded(results, capsys, monkeypatch, caplog):
    monkeypatch.setenv("SUITE_FROM_RECORDS", "1")  # so that it is not simply trained anew
    home = results / "runs" / RECIPE.key
    weights = home / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-30])
    (results.parent / "recipe.json").write_text(json.dumps(RECIPE.to_dict()))
    left = files(home)
    assert main(["status"]) == 1
    assert "damaged" in capsys.readouterr().out and files(home) == left
    with caplog.at_level("WARNING"):
        refused(["train", "recipe.json"], capsys, f"no record of run {RECIPE.key}")
    assert "is damaged" in caplog.text and "set aside" in caplog.text
    assert files(home.with_name(f"{home.name}.damaged-1")) == left


@pytest.mark.parametrize("words", [["lib", "train", "smart"], ["train", "smart"]])
def test_a_command_given_to_the_batch_is_answered_with_the_right_one(words, capsys):
    refused(["run", *words], capsys, "./run_all.sh --python -m lib train smart")


def test_copies_of_notebooks_go_into_no_folder_that_has_no_name(capsys):
    refused(["prepare-notebooks", os.fsdecode(b"/tmp/\xff")], capsys, "is not UTF-8")


def test_results_in_a_place_that_cannot_be_written_are_refused(results, capsys, monkeypatch):
    (results.parent / "file").write_text("")
    monkeypatch.setattr(paths, "RESULTS", results.parent / "file" / "results")
    refused(["run", "smart/fig5_fgsm", "--preset", "ci"], capsys, "Cannot write .*/runs")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_closed_disk_loses_nothing(code, results, capsys, monkeypatch):
    before = files(results)

    def full(number: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store.os, "fsync", full)
    Path("r.json").write_text(json.dumps(RECIPE.override({"seed": 1}).to_dict()))
    refused(["train", "r.json"], capsys, f"Cannot write .*{os.strerror(code)}")
    assert {k: v for k, v in files(results).items() if not k.endswith(".lock")} == before
    refused(["run", "smart/fig5_fgsm", "--preset", "ci"], capsys, "Cannot write")


def test_data_that_are_missing_offline_are_one_sentence(results, capsys, monkeypatch, tmp_path):
    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr("urllib.request.urlopen", offline)
    before = files(results)
    assert main(["run", "smart/fig5_fgsm", "--preset", "cifar"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Preparing the data set cifar10."
    assert len(lines) == 2 and "cifar10 could not be downloaded" in lines[1]
    assert files(results) == before


def test_an_unknown_region_of_the_readme_is_refused(results, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    text = "<!-- generated: artefacts -->\n<!-- end -->\n"
    (tmp_path / "README.md").write_text(text)
    refused(["report", "--readme"], capsys, "Unknown generated region 'artefacts'; .*'artifacts'")
    assert (tmp_path / "README.md").read_text() == text
