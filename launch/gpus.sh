#!/usr/bin/env bash
# Train on the GPUs of this machine: one process, all of them.
#
#   bash launch/gpus.sh [options] -- lisa_jax train --config=FILE --workdir=DIR ...
#
#   --gpus=0,1,...  only these (all)
#   --dry_run       print what would run
#
# Ctrl-C or SIGTERM asks the run to save and stop (exit status 75), a second Ctrl-C ends it at once. The same command goes
# on from the newest checkpoint.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/common.sh"
source "$here/xla_flags.sh"

gpus='' dry_run=''
while (($#)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --gpus=*) gpus=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    --) break ;;
    *) fail "unknown option '$1'; see bash $0 --help." ;;
  esac
  shift
done
[[ ${1-} == -- ]] || fail "after the options comes --, then the command; see bash $0 --help."
shift
python_command "$@"
[[ $gpus =~ ^([A-Za-z0-9/-]+(,[A-Za-z0-9/-]+)*)?$ ]] || fail "--gpus is ${gpus@Q}, but must be like 0,1 or the GPUs' names."
use_xla_flags gpu
[[ -z $gpus ]] || export CUDA_VISIBLE_DEVICES=$gpus

if [[ -n $dry_run ]]; then
  echo "${gpus:+CUDA_VISIBLE_DEVICES=$gpus }$(print_xla_flags) $(words "${COMMAND[@]}")"
  exit 0
fi
command -v nvidia-smi >/dev/null || fail "nvidia-smi is missing: is this a machine with NVIDIA GPUs and their driver?"
exec "${COMMAND[@]}"
