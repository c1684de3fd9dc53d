#!/usr/bin/env bash
#SBATCH --job-name=lisa_jax
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
# Train on the GPUs of several nodes under SLURM: submits itself as a batch job.
#
#   bash launch/slurm.sh [options of sbatch] [options] -- lisa_jax train --config=FILE --workdir=DIR ...
#   bash launch/slurm.sh --nodes=4 --partition=gpu -- lisa_jax train --config=configs/sd21_lisa.py --workdir=runs/a
#
#   --process_per=gpu|node  one process a GPU (the default), or one a node with all of its GPUs
#   --dry_run               print what would run, on the login node and in the job
#
# The job runs in the folder from which it is submitted, with the python that is active there; that folder and
# --workdir must be on storage that all nodes share. Two minutes before the time limit, and when the job is preempted,
# the run saves and stops, and the job queues again by itself, until the last step. Logs: slurm-JOB.log for the job,
# WORKDIR/logs/JOB-INDEX.log for each process. Stop for good: scancel --signal=TERM JOB saves but queues again, so
# scontrol update JobId=JOB Requeue=0 first; scancel JOB ends at once.
set -euo pipefail
# In the job, SLURM runs a copy of this file from a folder of its own.
here=${LISA_JAX_LAUNCH:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}
source "$here/common.sh"
source "$here/xla_flags.sh"

process_per=gpu dry_run='' sbatch_options=()
while (($#)); do
  case $1 in
    -h | --help) sed -n '/^# Train on/,/^[^#]/{s/^# \{0,1\}//p}' "$here/slurm.sh" && exit 0 ;;
    --process_per=*) process_per=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    --) break ;;
    -*) sbatch_options+=("$1") ;;
    *) fail "${1@Q} is no option: options of sbatch are written --name=value, and -- comes before the command." ;;
  esac
  shift
done
[[ ${1-} == -- ]] || fail "after the options comes --, then the command; see bash $0 --help."
[[ $process_per == gpu || $process_per == node ]] || fail "--process_per is '$process_per', but must be gpu or node."
# A node's process has all CPUs of the eight.
[[ $process_per == gpu ]] || sbatch_options=(--ntasks-per-node=1 --cpus-per-task=64 "${sbatch_options[@]}")
python_command "${@:2}"
plain 'an option of sbatch' "${sbatch_options[@]}"
[[ $here != *,* ]] || fail "sbatch would part $here at its comma: move the checkout."

submit=(sbatch "${sbatch_options[@]}" --export="ALL,LISA_JAX_LAUNCH=$here" "$here/slurm.sh"
  "--process_per=$process_per" "$@")
workdir=$(workdir_of "$@")
logs=${workdir:-.}/logs
# In names of files, % begins what SLURM fills in.
output=${logs//%/%%}/%j-%t.log
# srun does not take over the number of CPUs a task from the job.
run=(srun ${SLURM_CPUS_PER_TASK:+"--cpus-per-task=$SLURM_CPUS_PER_TASK"} --kill-on-bad-exit=1 --open-mode=append "--output=$output" "${COMMAND[@]}")

# One process a GPU is what JAX expects under SLURM: process i of a node takes GPU i. Otherwise it must be told which.
local_devices() {
  local gpus=${SLURM_GPUS_ON_NODE:-8}
  [[ $process_per == gpu ]] || seq -s, 0 $((gpus - 1))
}

if [[ -n $dry_run ]]; then
  echo "Here:       $(words "${submit[@]}")"
  devices=$(local_devices)
  use_xla_flags gpu
  echo "In the job: LISA_JAX_PROCESSES=auto ${devices:+JAX_LOCAL_DEVICE_IDS=$devices }$(print_xla_flags)" \
    "$(words "${run[@]}")"
  exit 0
fi
if [[ -z ${SLURM_JOB_ID-} ]]; then
  command -v sbatch >/dev/null || fail "sbatch is missing: this is to be started on a login node of a SLURM cluster."
  exec "${submit[@]}"
fi

mkdir -p "$logs"
use_xla_flags gpu
export LISA_JAX_PROCESSES=auto
devices=$(local_devices)
[[ -z $devices ]] || export JAX_LOCAL_DEVICE_IDS=$devices
# When SLURM preempts a job it signals this script too, which must live to queue the job again.
trap : TERM
status=0
"${run[@]}" || status=$?
if ((status == STOPPED_EARLY)); then
  echo "$(date '+%F %T'): saved and stopped before the end; the job queues again."
  scontrol requeue "$SLURM_JOB_ID"
elif ((status)); then
  echo "$(date '+%F %T'): a process failed, with status $status; the logs are $logs/$SLURM_JOB_ID-*.log." >&2
fi
exit "$status"
