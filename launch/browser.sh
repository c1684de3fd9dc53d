# shellcheck shell=bash
# Sourced by test.sh: a browser for the tests of the pages that are shown in one.

# get_browser: install Debian's chromium where there is no browser and nobody's leave is needed; else say what is missing.
get_browser() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then
      return
    fi
  done
  if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
    echo "The pages of report and demo will not be tested in a browser: install chromium (apt-get needs root) to have it tested."
    return
  fi
  echo "Installing chromium, to test the pages of report and demo ..."
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } \
    >/dev/null 2>&1; then
    echo "The pages of report and demo will not be tested in a browser: apt-get could not install chromium."
  fi
}
