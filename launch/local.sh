#!/usr/bin/env bash
# Start N processes of one run on this machine; they talk over loopback.
#
#   bash launch/local.sh [options] N -- lisa_jax train --config=FILE --workdir=DIR ...
#
#   --platform=cpu|gpu  gpu: process i gets GPU i. Without the option: gpu where there are N GPUs, else cpu
#   --devices=K         cpu: every process pretends to have K devices (1)
#   --logs=DIR          where process i writes process-i.log (WORKDIR/logs, or a temporary folder)
#   --grace=SECONDS     how long the others may take to end by themselves when one has failed (20)
#   --dry_run           print what would run
#
# The log of process 0 is shown as it grows. When one process fails, the others are stopped, the end of its log is
# shown, and its exit status is this script's. Ctrl-C or SIGTERM asks the run to save and stop (exit status 75); the
# same command goes on from there. A second one kills.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/common.sh"
source "$here/xla_flags.sh"

platform='' devices=1 logs='' grace=20 dry_run=''
while (($#)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --platform=*) platform=${1#*=} ;;
    --devices=*) devices=${1#*=} ;;
    --logs=*) logs=${1#*=} ;;
    --grace=*) grace=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    --) break ;;
    -*) fail "unknown option '$1'; see bash $0 --help." ;;
    *) break ;;
  esac
  shift
done
count=${1-}
[[ $count =~ ^[1-9][0-9]{0,3}$ ]] || fail "say how many processes: bash $0 N -- lisa_jax train ..."
[[ ${2-} == -- ]] || fail "after the number of processes comes --, then the command."
[[ $grace =~ ^[0-9]{1,9}$ ]] || fail "--grace is ${grace@Q}, but must be a number of seconds."
number --devices "$devices"
plain --logs "$logs"
shift 2
python_command "$@"

if [[ -z $platform ]]; then
  platform=cpu
  if command -v nvidia-smi >/dev/null && (($(nvidia-smi --list-gpus 2>/dev/null | wc -l) >= count)); then
    platform=gpu
  fi
fi
[[ $platform == cpu || $platform == gpu ]] || fail "--platform is ${platform@Q}, but must be cpu or gpu."
use_xla_flags "$platform" "$devices"

if [[ -n $dry_run ]]; then
  port=PORT
else
  port=$("${PYTHON:-python}" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
fi

# process_variables INDEX: what differs between the processes.
process_variables() {
  printf '%s\n' "LISA_JAX_PROCESSES=localhost:$port,$count,$1"
  [[ $platform != gpu ]] || printf '%s\n' "CUDA_VISIBLE_DEVICES=$1"
}

if [[ -z $logs ]]; then
  workdir=$(workdir_of "$@")
  logs=${workdir:+$workdir/logs}
fi
if [[ -n $dry_run ]]; then
  for ((index = 0; index < count; index++)); do
    echo "$(process_variables "$index" | paste -sd' ') $(print_xla_flags) $(words "${COMMAND[@]}")" \
      ">>$(words "${logs:-TEMPORARY_FOLDER}/process-$index.log") 2>&1 &"
  done
  exit 0
fi
logs=${logs:-$(mktemp -d)}
mkdir -p "$logs"
echo "$count processes on $platform; their logs are $logs/process-*.log"

pids=() starts=() tail_pid='' timer=''

asked=0
# shellcheck disable=SC2329
ask_to_stop() {
  asked=$((asked + 1))
  local signal=TERM
  ((asked == 1)) || signal=KILL
  echo "Sending SIG$signal to all processes ..." >&2
  kill -s "$signal" "${pids[@]}" 2>/dev/null || true
}
trap ask_to_stop INT TERM

# Nothing that this script started outlives it.
# shellcheck disable=SC2329
clean_up() {
  ((${#pids[@]} == 0)) || kill -s KILL "${pids[@]}" 2>/dev/null || true
  # It shows the last lines first.
  sleep 0.5
  kill ${tail_pid:+"$tail_pid"} ${timer:+"$timer"} 2>/dev/null || true
}
trap clean_up EXIT

for ((index = 0; index < count; index++)); do
  log=$logs/process-$index.log
  # An earlier run's log is kept above; only what is new is shown.
  echo "--- $(date '+%F %T'): $(words "${COMMAND[@]}")" >>"$log"
  starts[index]=$(($(wc -l <"$log") + 1))
  mapfile -t variables < <(process_variables "$index")
  env "${variables[@]}" "${COMMAND[@]}" >>"$log" 2>&1 </dev/null &
  pids[index]=$!
done
tail -n "+${starts[0]}" -f "$logs/process-0.log" &
tail_pid=$!

# next_to_end: set `ended` to the index of the next process to end and `status` to how; false where none runs any more.
next_to_end() {
  local pid
  while ((${#pids[@]})); do
    pid='' status=0
    wait -n -p pid "${pids[@]}" ${timer:+"$timer"} || status=$?
    # A signal to this script ends the wait, not a process: pid is unset then.
    pid=${pid-}
    if [[ -n $pid && $pid == "$timer" ]]; then
      timer=''
      kill -s KILL "${pids[@]}" 2>/dev/null || true
    fi
    for ended in "${!pids[@]}"; do
      if [[ ${pids[ended]} == "$pid" ]]; then
        unset "pids[ended]"
        return 0
      fi
    done
  done
  return 1
}

first_status=0 first=''
while next_to_end; do
  if ((status != 0 && first_status == 0)); then
    first_status=$status first=$ended
    if ((${#pids[@]} && status != STOPPED_EARLY)); then
      echo "Process $first ended with status $status; giving the others $grace s to end." >&2
      sleep "$grace" &
      timer=$!
    fi
  fi
done

if ((first_status == STOPPED_EARLY)); then
  echo "Saved and stopped before the end; the same command goes on from there." >&2
elif ((first_status)); then
  sleep 0.5
  echo "Process $first failed first, with status $first_status. The end of $logs/process-$first.log:" >&2
  tail -n "+${starts[first]}" "$logs/process-$first.log" | tail -n 20 | sed 's/^/  | /' >&2
  echo "Once the cause is mended, the same command goes on from the newest checkpoint." >&2
fi
exit "$first_status"
