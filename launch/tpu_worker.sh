#!/usr/bin/env bash
# What launch/tpu_pod.sh does on each worker of a pod, in ~/lisa_jax_run: code/, venv/, log, and
#
#   pid      the process that trains
#   status   its exit status; there once it has ended
#   stopped  there once it has been asked to stop
#
#   bash tpu_worker.sh install | start COMMAND... | status | stop
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

is_running() {
  [[ ! -e status && -e pid ]] && kill -0 "$(cat pid)" 2>/dev/null
}

# run COMMAND...: in the foreground, noting pid and exit status.
run() {
  local status=0
  # shellcheck source=xla_flags.sh
  source code/launch/xla_flags.sh
  use_xla_flags tpu
  export LISA_JAX_PROCESSES=auto
  # shellcheck disable=SC1091
  source venv/bin/activate
  cd code
  echo "--- $(date '+%F %T'): $*"
  "$@" &
  echo $! >../pid
  wait $! || status=$?
  echo "$status" >../status
}

case ${1-} in
  install)
    cd code
    # shellcheck source=venv.sh
    source launch/venv.sh
    use_venv ../venv "[openmoji,tpu]"
    ;;
  start)
    ! is_running || { echo "error: $(hostname) trains already; stop it first." >&2 && exit 1; }
    rm -f pid status stopped
    # In a session of its own, so that it outlives this connection.
    setsid bash code/launch/tpu_worker.sh run "${@:2}" >>log 2>&1 </dev/null &
    ;;
  run) run "${@:2}" ;;
  status)
    if [[ -e status ]]; then
      state="ended $(cat status)"
    elif is_running; then
      state=running
    else
      state=gone
    fi
    [[ ! -e stopped ]] || state+=" (asked to stop)"
    echo "$(hostname): $state"
    ;;
  stop)
    touch stopped
    ! is_running || kill -TERM "$(cat pid)"
    ;;
  *) echo "error: this is run by launch/tpu_pod.sh." >&2 && exit 2 ;;
esac
