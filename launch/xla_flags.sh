# shellcheck shell=bash
# Sourced by the launchers: the one place of flags of XLA, of libtpu and of the communication libraries.
#
# use_xla_flags cpu DEVICES | gpu | tpu: export them for commands that follow. What is set already in the environment
# comes after, so that it wins: XLA takes the last value of a flag.
# print_xla_flags: the same variables as NAME=value words, to show them.

use_xla_flags() {
  local platform=$1 devices=${2:-1} xla=() libtpu=()
  XLA_VARIABLES=(XLA_FLAGS)
  case $platform in
    cpu)
      # So many CPU devices in one process: what would be several chips of one host.
      xla+=("--xla_force_host_platform_device_count=$devices")
      # Size of XLA's thread pool, by default the number of cores. A collective holds a thread on every device until
      # all have come: with fewer threads than devices wait, a step locks itself out.
      export NPROC=${NPROC:-64} JAX_PLATFORMS=cpu
      XLA_VARIABLES+=(NPROC JAX_PLATFORMS)
      ;;
    gpu)
      # Schedules the all-reduce of gradients to run while the rest of the backward pass is computed. Off by default.
      xla+=(--xla_gpu_enable_latency_hiding_scheduler=true)
      # Share of a GPU's memory that is taken at the start; JAX's own choice, three quarters, leaves 20 GB of an 80 GB
      # card unused. What is left serves NCCL and cuDNN.
      export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}
      # Without a GPU, an error: training on the CPU would go unnoticed for hours.
      export JAX_PLATFORMS=cuda,cpu
      XLA_VARIABLES+=(XLA_PYTHON_CLIENT_MEM_FRACTION JAX_PLATFORMS)
      ;;
    tpu)
      # Data-parallel training has one kind of collective, the all-reduce of gradients: these let it run while the
      # rest of the backward pass is computed, with tensors of different sizes in one all-reduce.
      libtpu+=(--xla_tpu_enable_data_parallel_all_reduce_opt=true --xla_tpu_data_parallel_opt_different_sized_ops=true)
      export LIBTPU_INIT_ARGS="${libtpu[*]}${LIBTPU_INIT_ARGS:+ $LIBTPU_INIT_ARGS}"
      # Without a TPU, an error.
      export JAX_PLATFORMS=tpu,cpu
      XLA_VARIABLES+=(LIBTPU_INIT_ARGS JAX_PLATFORMS)
      ;;
    *)
      echo "error: no XLA flags for the platform '$platform': it is cpu, gpu or tpu." >&2
      return 1
      ;;
  esac
  export XLA_FLAGS="${xla[*]}${XLA_FLAGS:+ $XLA_FLAGS}"
}

print_xla_flags() {
  local name line=''
  for name in "${XLA_VARIABLES[@]}"; do
    [[ -z ${!name} ]] || line+="${line:+ }$name=${!name@Q}"
  done
  echo "$line"
}
