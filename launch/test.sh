#!/usr/bin/env bash
# Lint and run the whole test suite in a virtual environment of its own. Arguments go to pytest.
#
#   bash launch/test.sh                  everything but the slow proofs
#   bash launch/test.sh tests/parity -x  a part of it
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
source launch/browser.sh
use_venv .venv-test "[test]"
get_browser

ruff check .
ruff format --check .
# Two workers: compiling, which is most of the time, keeps one core busy. Torch and XLA share the two.
OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadgroup "$@"
