"""run_all.sh against stub interpreters and a stub uv, in a temporary copy: no network, no torch."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import packaging
import pytest

from lib.arguments import parse
from lib.presets import preset
from lib.studies import match

ROOT = Path(__file__).resolve().parents[1]
REAL = getattr(sys, "_base_executable", sys.executable)
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"

PYPROJECT = """
[project]
name = "tiny-suite"
requires-python = ">=3.11,<3.15"
dependencies = ["tiny>=1"]
[project.optional-dependencies]
notebooks = []
test = []
"""

# The command line of the stand-in suite: says how it was called, or waits to be interrupted.
MAIN = """
import json, os, sys, time
try:
    said = {"argv": sys.argv[1:], "python": sys.prefix, "cwd": os.getcwd()}
    said |= {"results": os.environ.get("SUITE_RESULTS"), "data": os.environ.get("SUITE_DATA")}
    print(json.dumps(said), flush=True)
    time.sleep(30 * ("sleep" in sys.argv))
except KeyboardInterrupt:
    sys.exit(7)
"""

UV = f"""#!/bin/bash
echo "$*" >> "$UV_LOG"
case "$1" in
  --version) echo "uv 9.9.9" ;;
  venv) "{REAL}" -I -m venv --without-pip "${{!#}}" && sleep "${{UV_SLEEP:-0}}" ;;
  pip)
    [ -z "${{UV_FAILS:-}}" ] || {{ echo "error: no route to host" >&2; exit 2; }}
    cp -R "$TINY"/. "$VENV_SITE"/ ;;
esac
"""


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


class Suite:
    """A copy of the entry point in a folder with a space, and a PATH that holds only stubs."""

    def __init__(self, folder: Path):
        self.root = folder / "a suite"
        self.bin = folder / "bin"
        (self.root / "lib").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "run_all.sh", self.root)
        shutil.copytree(ROOT / ".ci", self.root / ".ci")
        (self.root / "lib/__init__.py").touch()
        (self.root / "lib/__main__.py").write_text(MAIN)
        for module in ("pip", "venv"):  # instead of the real ones: quick, and without a network
            (self.root / f"{module}.py").write_text("raise SystemExit(1)\n")
        (self.root / "pyproject.toml").write_text(PYPROJECT)
        (self.root / "requirements.txt").write_text("tiny==1.0 \\\n    --hash=sha256:00\n")
        for tool in ("bash", "dirname", "cat", "cp", "rm", "sleep", "mktemp", "sed", "readlink"):
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        script(self.bin / "uv", UV)
        self.site(folder / "tiny", "1.0")
        self.log = folder / "uv.log"
        self.variables = {
            "PATH": str(self.bin),
            "HOME": str(folder),
            "UV_LOG": str(self.log),
            "TINY": str(folder / "tiny"),
            "VENV_SITE": str(self.root / ".venv" / SITE),
            "SUITE_MIN_FREE_KB": "0",
        }

    def site(self, folder: Path, version: str) -> None:
        """Fill a site-packages folder with the one package that the lock pins, and packaging."""
        described = folder / f"tiny-{version}.dist-info"
        described.mkdir(parents=True)
        (described / "METADATA").write_text(f"Name: tiny\nVersion: {version}\n")
        (folder / "packaging.pth").write_text(f"{Path(packaging.__file__).parents[1]}\n")

    def python(self, name: str, text: str = f'exec "{REAL}" "$@"') -> None:
        script(self.bin / name, f"#!/bin/bash\n{text}\n")

    def environment(self, folder: Path, version: str) -> Path:
        """Make a virtual environment that holds tiny in this version."""
        subprocess.run([REAL, "-m", "venv", "--without-pip", folder], check=True)
        self.site(folder / SITE, version)
        return folder

    def command(self, *words: str) -> list[str]:
        return [str(self.bin / "bash"), str(self.root / "run_all.sh"), *words]

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env=self.variables | variables,
            cwd=self.root.parent,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    def calls(self, word: str) -> int:
        """Return how often the stub uv was called with this first word."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return sum(line.startswith(word) for line in lines)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert a refusal: exit code 1, nothing on standard output, one closing sentence."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("."), last
    for word in words:
        assert word in last


def told(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_help_needs_no_python(suite):
    done = suite("--help")
    assert done.returncode == 0 and "--test" in done.stdout


def test_only_a_python_that_runs_and_is_new_enough_is_used(suite):
    suite.python("python3.13", "exit 127")  # a shim
    suite.python("python3", "exit 1")  # too old
    refused(suite(), "Python from 3.11 to 3.14")
    assert not (suite.root / ".venv").exists()
    suite.python("python")
    assert told(suite())["python"] == str(suite.root / ".venv")


def test_a_python_known_only_to_uv_is_used(suite):
    script(suite.bin / "uv", UV.replace("venv)", f'python) echo "{REAL}" ;;\n  venv)'))
    assert told(suite())["python"] == str(suite.root / ".venv")


def test_arguments_arrive_unchanged_and_relative_paths_are_of_the_callers_folder(suite):
    suite.python("python3")
    (suite.root.parent / "lib").mkdir()  # the caller's, which is not the suite's
    answer = told(suite("--set", "a=b c", "dnr/table2*", SUITE_RESULTS="my results"))
    assert answer["argv"] == ["run", "--set", "a=b c", "dnr/table2*"]
    assert answer["cwd"] == str(suite.root.parent)
    assert answer["results"] == str(suite.root.parent / "my results")
    assert answer["data"] is None
    assert told(suite(SUITE_DATA="/data"))["data"] == "/data"


def test_a_link_to_the_script_finds_the_suite(suite, tmp_path):
    suite.python("python3")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/near").symlink_to("../a suite/run_all.sh")
    (tmp_path / "far").symlink_to(tmp_path / "links/near")
    for link in ("links/near", "far"):
        call, env = [str(suite.bin / "bash"), link, "smart"], suite.variables
        done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert told(done)["argv"] == ["run", "smart"]


def test_an_ignored_folder_fails_the_check_and_without_git_there_is_none(suite):
    suite.environment(suite.root / ".venv", "1.0")
    suite.python("python3")
    done = suite("--test", "ignored")
    assert done.returncode == 0 and "Nothing to check: git is not installed" in done.stderr
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    (suite.bin / "git").symlink_to(git)
    subprocess.run([git, "init", "-q", str(suite.root)], check=True)
    assert suite("--test", "ignored").returncode == 0
    (suite.root / ".gitignore").write_text("lib/\n")
    assert suite("--test", "ignored").returncode == 1


def test_every_example_of_the_help_is_understood():
    shown = subprocess.run([ROOT / "run_all.sh", "--help"], capture_output=True, text=True).stdout
    lines = re.findall(r"^  \./run_all\.sh(?: (\S.*?))?(?:  .*)?$", shown, re.MULTILINE)
    ours = [line for line in lines if not line.startswith(("--test", "--python", "--help"))]
    assert len(ours) >= 9 and len(lines) == len(ours) + 3
    for example in [one for line in ours for one in line.split(" | ")]:
        words = parse(["run", *shlex.split(example)])
        preset(words.preset)
        assert match([words.why] if words.why else words.artifacts), example


@pytest.mark.parametrize(
    ("what", "variables", "said"),
    [
        ("no disk", {"SUITE_MIN_FREE_KB": str(10**15)}, "GB"),
        ("no uv", {}, "Cannot install uv"),
        ("no folder", {}, "Cannot write"),
    ],
)
def test_what_a_setup_needs_is_asked_for_in_one_sentence(suite, what, variables, said):
    suite.python("python3")
    if what == "no uv":
        (suite.bin / "uv").unlink()
    if what == "no folder":
        (suite.root / ".uv").touch()  # stands for a read-only folder, which root could write
    refused(suite(**variables), said)
    assert suite.calls("venv") == 0


def test_a_failed_installation_is_refused_and_repaired_by_the_next_run(suite):
    suite.python("python3")
    refused(suite(UV_FAILS="1"), "network")
    assert told(suite())["python"] == str(suite.root / ".venv")
    assert suite.calls("venv") == 2


def test_a_finished_environment_needs_neither_uv_nor_another_python(suite):
    suite.python("python3")
    told(suite())
    (suite.root / ".venv" / SITE / "extra.py").touch()  # what was added is kept
    for name in ("uv", "python3"):
        script(suite.bin / name, "#!/bin/bash\nexit 127\n")
    told(suite())
    assert suite.calls("venv") == 1


def test_a_changed_lock_brings_the_environment_up_to_date_or_makes_it_again(suite):
    suite.python("python3")
    told(suite())
    lock = suite.root / "requirements.txt"
    lock.write_text(lock.read_text() + "# changed\n")
    told(suite(SUITE_MIN_FREE_KB=str(10**15)))  # most packages are there: little space is needed
    told(suite())
    assert (suite.calls("venv"), suite.calls("pip")) == (1, 2)
    lock.write_text(lock.read_text() + "# changed again\n")
    refused(suite(UV_FAILS="1"), "network")
    told(suite())
    assert suite.calls("venv") == 2


@pytest.mark.parametrize("what", ["folder moved", "package gone"])
def test_an_environment_that_is_not_as_it_was_is_made_again(suite, what):
    suite.python("python3")
    told(suite())
    if what == "package gone":
        shutil.rmtree(suite.root / ".venv" / SITE / "tiny-1.0.dist-info")
    else:
        suite.root = suite.root.rename(suite.root.with_name("moved"))
        suite.variables["VENV_SITE"] = str(suite.root / ".venv" / SITE)
    assert told(suite())["python"] == str(suite.root / ".venv")
    assert suite.calls("venv") == 2


@pytest.mark.parametrize("junk", ["bin/python", "suite.stamp"])
def test_a_half_made_environment_is_made_again(suite, junk):
    suite.python("python3")
    path = suite.root / ".venv" / junk
    path.parent.mkdir(parents=True)
    path.write_text("unfinished\n")
    told(suite())
    told(suite())
    assert suite.calls("venv") == 1


def test_a_setup_killed_in_the_middle_leaves_no_lock_behind(suite):
    suite.python("python3")
    script(suite.bin / "uv", UV.replace("pip)", "pip) kill -9 $PPID; exit 1;;\n  pip-off)"))
    assert suite().returncode != 0
    script(suite.bin / "uv", UV)
    told(suite())


def test_two_first_runs_at_once_make_one_environment(suite):
    suite.python("python3")
    both = [
        subprocess.Popen(
            suite.command(),
            env=suite.variables | {"UV_SLEEP": "0.5"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert suite.calls("venv") == 1


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_with_the_pins_is_used(suite, tmp_path, variable):
    active = suite.environment(tmp_path / "my env", "1.0")
    assert told(suite(**{variable: str(active)}))["python"] == str(active)
    assert not (suite.root / ".venv").exists()


def test_an_active_environment_without_the_pins_is_left_alone(suite, tmp_path):
    suite.python("python3")
    done = suite(VIRTUAL_ENV=str(suite.environment(tmp_path / "my env", "1.5")))
    assert told(done)["python"] == str(suite.root / ".venv")
    assert "active environment" in done.stderr


def test_a_complete_environment_made_by_hand_is_adopted(suite):
    suite.python("python3")
    suite.environment(suite.root / ".venv", "1.0")
    told(suite())
    assert suite.calls("venv") == 0


def test_the_named_python_must_run_and_have_packages_in_the_ranges(suite, tmp_path):
    new = suite.environment(tmp_path / "new env", "1.5")
    assert told(suite(SUITE_PYTHON=f"{new}/bin/python"))["python"] == str(new)
    old = suite.environment(tmp_path / "old env", "0.5")
    refused(suite(SUITE_PYTHON=f"{old}/bin/python"), "tiny is 0.5 instead of >=1")
    suite.python("shim", "exit 127")
    refused(suite(SUITE_PYTHON="shim"), "SUITE_PYTHON")


def test_ctrl_c_reaches_the_suite(suite):
    suite.python("python3")
    process = subprocess.Popen(
        suite.command("sleep"), env=suite.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 7


def test_ctrl_c_ends_the_checks_with_the_step_that_runs(suite, tmp_path):
    """As from a keyboard: the whole group gets the signal, and pytest answers it with status 2."""
    suite.environment(suite.root / ".venv", "1.0")
    suite.python("python3")
    (suite.root / "pytest.py").write_text(
        "import sys, time\n"
        "try:\n    print('testing', flush=True)\n    time.sleep(30)\n"
        "except KeyboardInterrupt:\n    sys.exit(2)\n"
    )
    process = subprocess.Popen(
        suite.command("--test", "unit", "drift"),
        env=suite.variables | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "== drift" not in said
    assert not list(tmp_path.glob("tmp.*"))


def test_compiled_modules_are_kept_for_the_next_process(suite):
    suite.python("python3")
    told(suite(PYTHONDONTWRITEBYTECODE="1"))
    assert (suite.root / "lib/__pycache__").is_dir()


def test_python_runs_in_the_callers_folder_with_lib_importable(suite):
    suite.python("python3")
    done = suite("--python", "-c", "import os, lib; print(os.getcwd()); print(lib.__file__)")
    assert done.stdout.splitlines() == [str(suite.root.parent), str(suite.root / "lib/__init__.py")]


def test_an_unknown_step_is_refused(suite):
    refused(suite("--test", "lnit"), "lnit", "lint")


def test_every_step_runs_and_the_last_line_counts(suite, tmp_path):
    """Drift fails in the small copy; the stand-in for pytest has 1 test passed, 1 failed of 3."""
    suite.environment(suite.root / ".venv", "1.0")
    suite.python("python3")
    suite.python("git", "exit 1")
    report = '<testsuites><testsuite name="pytest" errors="0" failures="1" skipped="1" tests="3">'
    (suite.root / "pytest.py").write_text(
        "import sys\n"
        "path = next(x for x in sys.argv if x.startswith('--junitxml=')).partition('=')[2]\n"
        f"open(path, 'w').write('{report}')\n"
        "sys.exit(1)\n"
    )
    done = suite("--test", "drift", "unit", "ignored", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "2 passed, 2 failed"
    assert not list(tmp_path.glob("tmp.*"))  # nothing is left behind


def test_ci_runs_the_test_command():
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("exec ./run_all.sh --test")
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert os.access(ROOT / "run_all.sh", os.X_OK)
