#!/usr/bin/env bash
# Train on a Cloud TPU pod slice: the same command on all of its workers, over ssh.
#
#   bash launch/tpu_pod.sh --tpu=NAME --zone=ZONE [options] ACTION [-- lisa_jax train --config=FILE --workdir=DIR ...]
#
#   keep -- COMMAND   setup and start, then watch; start again when the TPU has been preempted and is back
#   setup             copy this checkout to every worker and install it there, with libtpu
#   start -- COMMAND  start in the background on every worker, once
#   status            what every worker does
#   logs              copy every worker's log to --logs and show the end of the first one's
#   stop              ask the run to save and stop
#
#   --project=PROJECT  of Google Cloud (the one of gcloud's configuration)
#   --python=PYTHON    on the workers, 3.11 or newer (python3)
#   --logs=DIR         here (runs/NAME/logs)
#   --poll=SECONDS     how often keep looks (60)
#   --dry_run          print what would run
#
# --workdir is a path on the workers, on storage that they share and that survives them (a bucket by gcsfuse, NFS).
# keep ends with the run's exit status: 0 at the last step, 75 after stop. It may be ended and started again while the
# run goes on. It waits for a preempted TPU to be READY again; making a new one under the same name is left to you, or
# to a queued resource.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"

tpu='' zone='' project='' python=python3 logs='' poll=60 dry_run=''
while (($#)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --tpu=*) tpu=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --python=*) python=${1#*=} ;;
    --logs=*) logs=${1#*=} ;;
    --poll=*) poll=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    -*) fail "unknown option '$1'; see bash $0 --help." ;;
    *) break ;;
  esac
  shift
done
plain 'an option' "$tpu" "$zone" "$project" "$python" "$logs"
[[ $poll =~ ^[0-9]{1,6}([.][0-9]{1,3})?$ ]] || fail "--poll is ${poll@Q}, but must be a number of seconds."
[[ $tpu != -* ]] || fail "--tpu is ${tpu@Q}, but must be the name of a TPU."
[[ -n $tpu && -n $zone ]] || fail "say which TPU: --tpu=NAME --zone=ZONE; see bash $0 --help."
action=${1-}
case $action in
  keep | start)
    [[ ${2-} == -- ]] || fail "after $action comes --, then the command; see bash $0 --help."
    PYTHON=python python_command "${@:3}"
    ;;
  setup | status | logs | stop) (($# == 1)) || fail "$action takes no arguments." ;;
  *) fail "say keep, setup, start, status, logs or stop; see bash $0 --help." ;;
esac
logs=${logs:-runs/$tpu/logs}
where=("--zone=$zone" ${project:+"--project=$project"})

# run COMMAND...: run it, or print it where only that is asked for.
run() {
  if [[ -n $dry_run ]]; then
    words "$@"
  else
    "$@"
  fi
}

# on_workers SCRIPT [OPTION...]: run a line of shell on all workers at the same time.
on_workers() {
  run gcloud compute tpus tpu-vm ssh "$tpu" "${where[@]}" --worker=all "${@:2}" "--command=$1"
}

worker=lisa_jax_run/code/launch/tpu_worker.sh

setup() {
  local archive=TEMPORARY_FOLDER/code.tar.gz folder='' status=0 pack
  if [[ -z $dry_run ]]; then
    folder=$(mktemp -d)
    archive=$folder/code.tar.gz
  fi
  # What is tracked, as it stands now, and what is new; nothing that git ignores, nor what has been deleted.
  pack="git ls-files -z --cached --others --exclude-standard |
    while IFS= read -rd '' file; do [[ ! -e \$file ]] || printf '%s\0' \"\$file\"; done | tar -cz --null -T - -f $(words "$archive")"
  # Chained: bash does not stop at errors in what is called in a condition.
  run bash -c "cd $(words "${here%/launch}") && $pack" &&
    run gcloud compute tpus tpu-vm scp "$archive" "$tpu:lisa_jax_code.tar.gz" "${where[@]}" --worker=all &&
    on_workers "mkdir -p lisa_jax_run/code && tar -xzf lisa_jax_code.tar.gz -C lisa_jax_run/code" &&
    on_workers "PYTHON=$(words "$python") bash $worker install" || status=$?
  [[ -z $folder ]] || rm -rf "$folder"
  return "$status"
}

start() {
  on_workers "bash $worker start $(words "${COMMAND[@]}")"
}

status() {
  on_workers "bash $worker status 2>/dev/null || echo \"\$(hostname): gone\""
}

gather_logs() {
  run mkdir -p "$logs"
  on_workers "cat lisa_jax_run/log" "--output-directory=$logs"
  [[ -n $dry_run ]] || tail -n 20 "$logs"/0.log
}

stop() {
  on_workers "bash $worker stop"
}

tpu_state() {
  gcloud compute tpus tpu-vm describe "$tpu" "${where[@]}" --format='value(state)' 2>/dev/null || echo MISSING
}

say() {
  echo "$(date '+%F %T'): $*"
}

# keep_running: see the head of this file. What ssh cannot reach is taken for preempted, and tried again.
keep_running() {
  local found state worst
  while :; do
    state=$(tpu_state)
    if [[ $state != READY ]]; then
      say "$tpu is $state; waiting for it to be READY."
    elif ! found=$(status); then
      say "$tpu does not answer; trying again."
    elif grep -q ': gone' <<<"$found"; then
      # New or restarted machines: nothing runs there, and the others are about to notice.
      if grep -q ': running' <<<"$found"; then
        say "a worker has lost its run; waiting for the others to end."
      else
        say "starting on $tpu."
        { setup && start; } || say "that failed; trying again."
      fi
    elif ! grep -q ': running' <<<"$found"; then
      worst=$(sed -n 's/.*: ended \([0-9]*\).*/\1/p' <<<"$found" | sort -n | tail -n 1)
      # A machine that is about to go away asks its processes to stop, as stop does.
      if ((worst == STOPPED_EARLY)) && ! grep -q 'asked to stop' <<<"$found"; then
        say "the run was interrupted; starting again."
        start || say "that failed; trying again."
      elif [[ $(tpu_state) == READY ]]; then
        gather_logs
        say "the run has ended with status $worst; the logs are in $logs."
        return "$worst"
      fi
    fi
    sleep "$poll"
  done
}

if [[ -z $dry_run ]]; then
  command -v gcloud >/dev/null || fail "gcloud is missing: install the Google Cloud CLI and run gcloud init."
fi
case $action in
  setup) setup ;;
  start) start ;;
  status) status ;;
  logs) gather_logs ;;
  stop) stop ;;
  keep)
    if [[ -n $dry_run ]]; then
      setup
      start
      echo "# then every $poll s, until the run has ended; setup and start again where it is gone:"
      words gcloud compute tpus tpu-vm describe "$tpu" "${where[@]}" '--format=value(state)'
      status
      gather_logs
    else
      # A run that has ended earlier does not count.
      on_workers "[ ! -e lisa_jax_run/status ] || rm -f lisa_jax_run/status lisa_jax_run/pid"
      keep_running
    fi
    ;;
esac
