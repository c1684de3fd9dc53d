#!/usr/bin/env bash
# Train on a TPU slice in Google Kubernetes Engine: fills in launch/gke.yaml and hands it to kubectl.
#
#   bash launch/gke.sh [options] start -- lisa_jax train --config=FILE --workdir=/mnt/storage/runs/a ...
#   bash launch/gke.sh --name=NAME status | logs | stop
#
#   --name=NAME           name of the JobSet (lisa-jax)
#   --image=IMAGE         container with this package and .[tpu] installed, and its configs in the working folder:
#                         docker build --build-arg TARGET=tpu .
#   --accelerator=KIND    tpu-v5-lite-podslice (v5e), tpu-v5p-slice, tpu-v6e-slice, ... (tpu-v5-lite-podslice)
#   --topology=AxB[xC]    of the slice (4x4)
#   --chips_per_host=N    of the node pool's machine type (4)
#   --claim=NAME          persistent volume claim that all pods can write (lisa-jax-storage)
#   --mount=PATH          where it appears in the pods (/mnt/storage)
#   --max_restarts=N      how often the run may start again (100)
#   --dry_run             print the manifest, or the command of kubectl
#
# start submits; the run starts again by itself after preemption. stop deletes the JobSet: the pods get SIGTERM, save
# and leave; the same start goes on from there.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/common.sh"
source "$here/xla_flags.sh"

name=lisa-jax image='' accelerator=tpu-v5-lite-podslice topology=4x4 chips_per_host=4
claim=lisa-jax-storage mount=/mnt/storage max_restarts=100 dry_run=''
while (($#)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --name=*) name=${1#*=} ;;
    --image=*) image=${1#*=} ;;
    --accelerator=*) accelerator=${1#*=} ;;
    --topology=*) topology=${1#*=} ;;
    --chips_per_host=*) chips_per_host=${1#*=} ;;
    --claim=*) claim=${1#*=} ;;
    --mount=*) mount=${1#*=} ;;
    --max_restarts=*) max_restarts=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    -*) fail "unknown option '$1'; see bash $0 --help." ;;
    *) break ;;
  esac
  shift
done
action=${1-}
[[ $name =~ ^[a-z0-9]([a-z0-9.-]{0,50}[a-z0-9])?$ ]] || fail "--name is ${name@Q}, but must be a name of Kubernetes: a-z, 0-9, -."

# json WORD...: a JSON list of strings, which is YAML too.
json() {
  local word list=''
  for word; do
    word=${word//\\/\\\\}
    list+=${list:+, }\"${word//\"/\\\"}\"
  done
  echo "[$list]"
}

# quoted WORD: a string of JSON, which is YAML too.
quoted() {
  json "$1" | sed 's/^\[//; s/\]$//'
}

# environment NAME...: the variables as Kubernetes wants them.
environment() {
  local variable list=''
  for variable; do
    [[ -z ${!variable} ]] || list+=${list:+, }"{name: $variable, value: $(quoted "${!variable}")}"
  done
  echo "[$list]"
}

manifest() {
  local chips key text
  [[ $topology =~ ^[0-9]+(x[0-9]+){1,2}$ ]] || fail "--topology is '$topology', but must be like 4x4 or 2x2x4."
  number --chips_per_host "$chips_per_host"
  number --max_restarts "$max_restarts"
  [[ $mount == /* ]] || fail "--mount is ${mount@Q}, but must be an absolute path."
  chips=$((${topology//x/*}))
  ((chips % chips_per_host == 0)) || fail "a $topology slice has $chips chips: not a multiple of $chips_per_host a host."
  [[ -n $image ]] || fail "name the container: --image=..."
  use_xla_flags tpu
  export LISA_JAX_PROCESSES=auto
  # Here, for an error below, in a list, would not end anything.
  plain 'an option' "$image" "$accelerator" "$claim" "$mount"
  for key in "${XLA_VARIABLES[@]}"; do
    plain "$key" "${!key}"
  done
  declare -A values=(
    [NAME]=$(quoted "$name") [IMAGE]=$(quoted "$image") [ACCELERATOR]=$(quoted "$accelerator")
    [TOPOLOGY]=$(quoted "$topology") [HOSTS]=$((chips / chips_per_host)) [CHIPS_PER_HOST]=$chips_per_host
    [CLAIM]=$(quoted "$claim") [MOUNT]=$(quoted "$mount") [MAX_RESTARTS]=$max_restarts
    [COMMAND]=$(json "${COMMAND[@]}") [ENVIRONMENT]=$(environment LISA_JAX_PROCESSES "${XLA_VARIABLES[@]}")
  )
  # From left to right, once: what a value says is not filled in again.
  text=$(<"$here/gke.yaml")
  while [[ $text =~ @([A-Z_]+)@ ]]; do
    key=${BASH_REMATCH[1]}
    printf '%s%s' "${text%%"@$key@"*}" "${values[$key]}"
    text=${text#*"@$key@"}
  done
  echo "$text"
}

pods="jobset.sigs.k8s.io/jobset-name=$name"
case $action in
  start)
    [[ ${2-} == -- ]] || fail "after start comes --, then the command."
    PYTHON=python python_command "${@:3}"
    # Not in a pipe: an error in it must end this script before kubectl sees anything.
    rendered=$(manifest)
    if [[ -n $dry_run ]]; then
      echo "$rendered"
    else
      kubectl apply -f - <<<"$rendered"
    fi
    exit
    ;;
  status) run=(kubectl get pods --selector="$pods" --output=wide) ;;
  logs) run=(kubectl logs --selector="$pods" --prefix --tail=-1 --max-log-requests=512) ;;
  stop) run=(kubectl delete jobset "$name") ;;
  *) fail "say start, status, logs or stop; see bash $0 --help." ;;
esac
if [[ -n $dry_run ]]; then
  words "${run[@]}"
else
  "${run[@]}"
fi
