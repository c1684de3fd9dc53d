# shellcheck shell=bash
# Sourced by the scripts beside it: make a virtual environment and activate it.

# use_venv FOLDER EXTRAS: install this checkout with EXTRAS ("" or "[test]") into FOLDER and activate it. Versions are
# those that the tests have passed with, constraints.txt. Runs pip only where that, setup.cfg or the extras have changed
# since. Set PYTHON to choose the interpreter (3.11 or newer).
use_venv() {
  local folder=$1 extras=$2 python=${PYTHON:-python3} stamp
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: $python is missing or older than 3.11; set PYTHON to a newer one: PYTHON=python3.12 bash $0" >&2
    exit 1
  fi
  stamp=$(printf '%s' "$extras" | cat setup.cfg pyproject.toml constraints.txt - | cksum)
  if [[ "$(cat "$folder/.lisa_jax_stamp" 2>/dev/null)" != "$stamp" ]]; then
    echo "Installing into $folder (a few minutes the first time) ..."
    if ! "$python" -m venv "$folder"; then
      echo "error: $python cannot make a virtual environment; on Debian and Ubuntu install python3-venv." >&2
      exit 1
    fi
    # Python compiles what is imported, once; the rest of the packages need not wait for it.
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
      --constraint constraints.txt --editable ".$extras"
    printf '%s\n' "$stamp" >"$folder/.lisa_jax_stamp"
  fi
  # Images of containers set it, and then every command compiles all that it imports, every time: 3 s of a core.
  unset PYTHONDONTWRITEBYTECODE
  # shellcheck disable=SC1091
  source "$folder/bin/activate"
}
