"""What every test shares: one thread, a fixed seed, tiny images."""

import os
import shutil
import signal
import subprocess

import pytest
import torch

from lib import paths, runs

torch.set_num_threads(1)
os.environ.pop("SUITE_RECORD", None)
# a shell's background job and what nohup starts inherit that these are ignored
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(autouse=True)
def _seeded(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setenv("SUITE_FROM_RECORDS", "")  # and as before afterwards


@pytest.fixture
def images() -> torch.Tensor:
    """Eight 3x8x8 images in [0, 1]."""
    return torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> torch.Tensor:
    """Labels of the eight images, ten classes."""
    return torch.randint(0, 10, (8,), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Return a results folder of the test's own, in which what is not there is trained."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    return tmp_path


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setenv("SUITE_BATCH", "1")  # no bars


@pytest.fixture(scope="module")
def shelf(request, tmp_path_factory):
    """Return the results folder with the networks of a module's SHELF, trained once."""
    home = tmp_path_factory.mktemp("shelf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "RESULTS", home)
        for recipe in request.module.SHELF:
            runs.fit(recipe)
    return home


@pytest.fixture
def trained(shelf, results):
    """Put the networks of the shelf into the folder of the test."""
    shutil.copytree(shelf, results, dirs_exist_ok=True)


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Return what git says has changed in a repository whose results folder is the suite's."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*words: str) -> str:
        call = ["git", "-c", "user.name=x", "-c", "user.email=x", *words]
        return subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    shutil.copy(paths.ROOT / ".gitignore", tmp_path)
    for preset in ("ci", "quick"):
        for name in ("summary.csv", "tiny/two/metrics.csv", "smart/fig5_fgsm/metrics.csv"):
            path = tmp_path / "results" / preset / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("committed")
    git("init", "-q")
    git("add", "-f", ".gitignore", "results")
    git("commit", "-qm", "Start")
    return lambda: git("status", "--porcelain", "--untracked-files=all", "--", "results")
