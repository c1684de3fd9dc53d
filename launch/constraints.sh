#!/usr/bin/env bash
# Write constraints.txt: the versions in .venv-test, with which the whole suite has just passed. To renew them:
#
#   rm -rf .venv-test && : >constraints.txt && bash launch/test.sh && bash launch/constraints.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# frozen: packages of .venv-test and their versions, without this checkout, other places than a registry, and builds of
# one machine (torch==2.13.0+cpu).
frozen() {
  .venv-test/bin/python -m pip --disable-pip-version-check freeze --exclude-editable | sed -n '/^[A-Za-z0-9._-]*==/{s/+.*//;p}'
}

frozen=$(frozen)
cat >constraints.txt <<EOF
# Versions that the test suite has passed with; launch/constraints.sh writes this file and says how to renew it.
$frozen
EOF
