"""The files that describe the environment agree, and disagreements are found and named."""

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import environment
import lockfile
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Copies of the three files in a folder of their own, for environment to look at."""
    for name in ("pyproject.toml", "requirements.txt", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "LOCK", tmp_path / "requirements.txt")
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_files_of_the_repository_agree_and_write_mends_the_conda_file(copy):
    assert lockfile.drift() == 0
    change(copy / "environment.yml", "conda-forge", "elsewhere")
    assert lockfile.drift() == 1
    lockfile.write()
    assert lockfile.drift() == 0
    parsed = yaml.safe_load((copy / "environment.yml").read_text())
    assert parsed["channels"] == ["conda-forge"]
    assert {"pip": ["-r requirements.txt"]} in parsed["dependencies"]


@pytest.mark.parametrize(
    ("name", "old", "new", "named"),
    [
        ("pyproject.toml", '"tqdm>=', '"no-such-package>=1",\n    "tqdm>=', "no-such-package"),
        ("pyproject.toml", '"nbval>=0.11"', '"nbval>=99"', "nbval>=99"),
        ("requirements.txt", "seaborn==", "sea-born==", "seaborn"),
        ("requirements.txt", "filelock==4", "filelock==1", "filelock"),
        ("requirements.txt", "--all-extras ", "", "was not made by"),
        ("requirements.txt", "tqdm==", "--extra-index-url x\ntqdm==", "index"),
        ("requirements.txt", "tqdm==", "tqdm @ https://x.org/tqdm.whl\ntqdm==", "address"),
        ("requirements.txt", "tqdm==", "zipp==3.0\ntqdm==", "zipp==3.0 has no hash"),
    ],
)
def test_drift_names_what_disagrees(copy, capsys, name, old, new, named):
    change(copy / name, old, new)
    assert lockfile.drift() == 1
    assert named in capsys.readouterr().err


def test_a_pin_for_one_system_alone_is_drift(copy, capsys):
    written = next(str(x) for x in environment.pins() if x.name == "seaborn")
    change(copy / "requirements.txt", written, f"{written} ; sys_platform == 'linux'")
    assert lockfile.drift() == 1
    said = capsys.readouterr().err
    assert "seaborn on macos" in said
    assert "seaborn on linux" not in said


def installed(monkeypatch, **versions: str) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(environment, "version", version)


def test_differences_say_what_is_missing_and_what_is_other_on_this_system(monkeypatch):
    installed(monkeypatch, numpy="2.0.0", tqdm="4.1")
    wanted = ["numpy==2.4.6", "tqdm==4.1", "torch>=2.11", "x==1 ; sys_platform == 'nowhere'"]
    assert environment.differences([Requirement(x) for x in wanted]) == [
        "numpy is 2.0.0 instead of ==2.4.6",
        "torch is missing",
    ]


@pytest.mark.parametrize(("torch", "complete"), [("2.15.0", False), ("2.15.0+cpu", True)])
def test_only_a_torch_build_of_its_own_does_without_the_cuda_pins(monkeypatch, torch, complete):
    installed(monkeypatch, torch=torch)
    wanted = [Requirement(x) for x in ("nvidia-cublas==13", "triton==3", "torch==2.15.0")]
    assert (environment.differences(wanted) == []) is complete


def test_the_lock_pins_what_a_run_and_the_tests_need_apart():
    pinned = {x.name: str(x.specifier) for x in environment.pins()}
    assert all(pinned[x.name].startswith("==") for x in environment.ranges())
    run = {x.name for x in environment.ranges(["notebooks"])}
    assert {"torch", "papermill"} <= run and not {"pytest", "ruff"} & run


def test_the_script_accepts_the_pythons_that_the_project_asks_for():
    allowed = SpecifierSet(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    assert all(allowed.contains(python) for python in lockfile.PYTHONS)
    low, high = (next(x.version for x in allowed if x.operator == op) for op in (">=", "<"))
    said = f"({low.replace('.', ', ')}) <= sys.version_info < ({high.replace('.', ', ')})"
    assert said in (ROOT / "run_all.sh").read_text()


@pytest.mark.parametrize(
    ("answer", "usable"),
    [
        ("uv 0.13.8 (x86_64)", True),
        ("uv 1.0.0", True),
        ("uv 0.4.30", False),
        ("ultraviolet 9.9", False),
        ("", False),
    ],
)
def test_only_a_uv_that_answers_and_is_new_enough_is_used(tmp_path, answer, usable):
    stub = tmp_path / "uv"
    stub.write_text(f"#!/bin/sh\necho '{answer}'\n")
    stub.chmod(0o755)
    assert environment.usable_uv(stub) is usable
    assert not environment.usable_uv(tmp_path / "nothing")


def test_the_uv_that_we_install_is_pinned_by_hashes_like_everything_else(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(environment, "PRIVATE", tmp_path)
    monkeypatch.setattr(environment, "status", lambda *words: calls.append(words) or 0)
    monkeypatch.setattr(environment, "usable_uv", lambda command: False)
    with pytest.raises(SystemExit, match="Cannot install uv==") as refused:
        environment.find_uv()
    installs = [words for words in calls if "install" in words]
    assert installs and all("--require-hashes" in words for words in installs)
    pins = Path(installs[0][installs[0].index("-r") + 1]).read_text()
    assert str(refused.value).split()[2].rstrip(":") == pins.split()[0]
    assert len(re.findall(r"^\S", pins, re.MULTILINE)) == 1  # nothing but uv, which needs nothing


def test_uv_gets_the_index_and_certificate_of_pip_unless_it_has_its_own(monkeypatch):
    said = """:env:.index-url='https://mirror/a=b/simple'
global.cert='/my/ca.pem'
global.index-url='https://other/simple'
"""
    answer = subprocess.CompletedProcess([], 0, stdout=said)
    monkeypatch.setattr(environment.subprocess, "run", lambda *_, **__: answer)
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    settings = environment.uv_settings()
    assert settings["UV_DEFAULT_INDEX"] == "https://mirror/a=b/simple"
    assert settings["SSL_CERT_FILE"] == "/my/ca.pem"
    monkeypatch.setenv("UV_INDEX_URL", "https://mine/simple")
    settings = environment.uv_settings()
    assert settings["UV_INDEX_URL"] == "https://mine/simple"
    assert "UV_DEFAULT_INDEX" not in settings


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_only_weights_of_recorded_networks_are_tracked_above_a_megabyte():
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    sizes = {file: file.stat().st_size for name in tracked if (file := ROOT / name).exists()}
    large = {file for file, size in sizes.items() if size > 1_000_000}
    assert [f for f in large if not f.match("results/records/*/weights.safetensors")] == []
    assert sum(sizes[file] for file in large) < 40_000_000
