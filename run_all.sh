#!/usr/bin/env bash
# The only entry point: makes the environment if it is needed, then runs the suite or its checks.
# Works with bash 3.2 (macOS) and from any folder; everything beyond the shell is in lib/ and .ci/.
set -u

SELF=${BASH_SOURCE[0]}
while [ -L "$SELF" ]; do # macOS has had no readlink -f for long
  LINK=$(readlink "$SELF")
  case $LINK in /*) SELF=$LINK ;; *) SELF=$(dirname -- "$SELF")/$LINK ;; esac
done
ROOT=$(CDPATH='' cd -- "$(dirname -- "$SELF")" && pwd -P) || exit 1
STEPS="lint types stripped drift ignored unit notebooks avx2"
PYTHON=

usage() {
  cat <<'END'
Every figure and table of four papers, from one command.

  ./run_all.sh                            everything on small images (preset quick), offline
  ./run_all.sh smart 'float/fig[67]*'     papers, artifacts or globs
  ./run_all.sh --preset cifar --seeds 0,1,2 --set data.dataset=cifar100 --jobs 2
  ./run_all.sh --preset ci --set attack.eps=8/255 --set data.dataset=imagefolder:my/images
  ./run_all.sh --list                     what there is
  ./run_all.sh --dry-run                  what would be done, how long and how large
  ./run_all.sh --why smart/fig5_fgsm      why it would be done
  ./run_all.sh --fresh | --from-records   train again | draw from the recorded runs, train nothing
  ./run_all.sh --executor slurm           train as jobs of a cluster, see README
  ./run_all.sh --record                   write results/PRESET, which git keeps
  ./run_all.sh --test [STEP...]           what CI runs; without names, all of:
                                          lint types stripped drift ignored unit notebooks avx2
  ./run_all.sh --python ARGS...           the suite's own Python, e.g. -m jupyterlab notebooks
  ./run_all.sh --help                     this text

The environment is the active one (venv or conda) if it has the pinned packages, else .venv, made
from requirements.txt at the first start. SUITE_PYTHON=... names a Python of your own, for which
the ranges of pyproject.toml are enough. Results go to results/local/PRESET, which git ignores;
SUITE_RESULTS names another folder than results, SUITE_DATA another one than data.
END
}

say() { printf '%s\n' "$*" >&2; }

refuse() {
  say "run_all.sh: $*"
  exit 1
}

# A candidate is run, not looked up: a pyenv shim is found and then exits with 127.
suitable() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1
}

any_python() {
  for candidate in python3.13 python3.12 python3.11 python3.14 python3 python; do
    suitable "$candidate" && printf '%s' "$candidate" && return
  done
  candidate=$(uv python find --system '>=3.11,<3.15' 2>/dev/null) && suitable "$candidate" &&
    printf '%s' "$candidate"
}

environment() { # environment PYTHON COMMAND...
  local python=$1
  shift
  "$python" -P "$ROOT/.ci/environment.py" "$@"
}

choose_python() { # choose_python EXTRAS...: what this run needs beyond the core
  local active base
  if [ -n "${SUITE_PYTHON:-}" ]; then
    suitable "$SUITE_PYTHON" ||
      refuse "SUITE_PYTHON ($SUITE_PYTHON) is no Python from 3.11 to 3.14; correct or unset it."
    PYTHON=$("$SUITE_PYTHON" -c 'import sys; print(sys.executable)')
    environment "$PYTHON" check "$@" || exit 1
    return
  fi
  for active in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
    PYTHON=$active/bin/python
    [ -n "$active" ] && [ "$active" != "$ROOT/.venv" ] &&
      environment "$PYTHON" check >/dev/null 2>&1 && return
  done
  PYTHON=$ROOT/.venv/bin/python
  environment "$PYTHON" ready >/dev/null 2>&1 && return
  base=$(any_python) ||
    refuse "no Python from 3.11 to 3.14 was found that runs; install one, or name it in SUITE_PYTHON."
  [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] ||
    say "The active environment does not have the pinned packages; .venv is used instead."
  environment "$base" setup || exit $?
}

# The steps of --test; each prints what it does and fails by its exit status.

step_lint() {
  local failed=0
  "$PYTHON" -m ruff check . || failed=1
  "$PYTHON" -m ruff format --check . || failed=1
  return $failed
}

step_types() { "$PYTHON" -m mypy; }

step_stripped() {
  local keys="metadata.papermill metadata.language_info cell.metadata.papermill"
  find notebooks -name .ipynb_checkpoints -prune -o -name '*.ipynb' \
    -exec "$PYTHON" -m nbstripout --verify --keep-id --extra-keys "$keys" {} +
}

step_drift() { "$PYTHON" .ci/lockfile.py drift; }

step_ignored() { # common .gitignore templates hide a folder called lib
  if ! git rev-parse --git-dir >/dev/null 2>&1; then
    say "Nothing to check: git is not installed, or this folder is no clone that it reads."
    return
  fi
  git check-ignore lib tests notebooks data/reference results results/records
  [ $? -eq 1 ]
}

check() { # check REPORT WHAT...: pytest, on one thread a worker, which is how results are made
  local report=$1
  shift
  OMP_NUM_THREADS=1 "$PYTHON" -m pytest -n 2 --timeout=300 --junitxml="$report" "$@"
}

copies() { # nbval takes no parameters: it runs over copies with the ci preset, warnings are errors
  export PYTHONWARNINGS=error::DeprecationWarning:__main__,error::FutureWarning:__main__
  "$PYTHON" -m lib prepare-notebooks --preset ci "$SCRATCH/notebooks"
}

nbval="-c pyproject.toml -p no:cacheprovider -p tests.notebook_kernels --dist loadscope
  --nbval-lax --nbval-current-env --nbval-cell-timeout=120"

step_unit() { check "$SCRATCH/unit.xml"; }

step_notebooks() { copies && check "$SCRATCH/notebooks.xml" $nbval "$SCRATCH/notebooks"; }

step_avx2() { # what most laptops have: other kernels of oneDNN, one of which was wrong
  copies && ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 check "$SCRATCH/avx2.xml" $nbval \
    tests/models tests/trainers "$SCRATCH/notebooks/float/table1_variants.ipynb"
}

count() { # count FILE ATTRIBUTE: of a pytest report
  local number
  number=$(sed -n "s/.*<testsuite [^>]*$2=\"\([0-9]*\)\".*/\1/p" "$1")
  printf '%d' "${number:-0}"
}

run_steps() {
  local name status seconds report bad lines="" passed=0 failed=0 any=0
  cd "$ROOT" || exit 1
  SCRATCH=$(mktemp -d) || exit 1
  trap 'rm -rf "$SCRATCH"' EXIT
  trap 'exit 130' INT
  export SUITE_RESULTS=$SCRATCH/results
  for name in ${@:-$STEPS}; do
    say "== $name"
    seconds=$SECONDS
    status=passed
    "step_$name" || { status=FAILED && any=1; }
    report=$SCRATCH/$name.xml
    if [ -s "$report" ]; then
      bad=$(($(count "$report" failures) + $(count "$report" errors)))
      failed=$((failed + bad))
      passed=$((passed + $(count "$report" tests) - bad - $(count "$report" skipped)))
      [ "$status" = passed ] || [ "$bad" -gt 0 ] || failed=$((failed + 1))
    elif [ "$status" = passed ]; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
    fi
    lines="$lines$(printf '%-10s %s %5d s' "$name" "$status" $((SECONDS - seconds)))
"
  done
  printf '\n%s%d passed, %d failed\n' "$lines" "$passed" "$failed"
  exit $any
}

main() {
  local name
  case $OSTYPE in msys* | cygwin*) refuse "Windows is served through WSL; start it there." ;; esac
  for name in SUITE_RESULTS SUITE_DATA; do # of the caller's folder, whichever a step goes to
    case ${!name:-/} in /*) ;; *) export "$name=$PWD/${!name}" ;; esac
  done
  export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} # kernels start in the notebook's folder
  unset PYTHONDONTWRITEBYTECODE # a batch is many processes: each would compile PyTorch's modules anew
  case ${1:-} in
    -h | --help)
      usage
      ;;
    --test)
      shift
      for name in "$@"; do
        case " $STEPS " in *" $name "*) ;; *) refuse "unknown step '$name'; choose from: $STEPS." ;; esac
      done
      choose_python notebooks test
      run_steps "$@"
      ;;
    --python)
      shift
      choose_python notebooks
      exec "$PYTHON" "$@"
      ;;
    *)
      choose_python notebooks
      exec "$PYTHON" -P -m lib run "$@" # in the caller's folder, of which relative paths are
      ;;
  esac
}

main "$@"
