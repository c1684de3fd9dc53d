"""Which platforms JAX tries to use."""

import importlib.util
import os
from importlib.metadata import entry_points
from pathlib import Path

import jax

# How the kernel shows TPUs, those too that this version of JAX has not heard of.
_TPU_DEVICES = ("accel*", "vfio/*")


def leave_out_absent_tpus() -> None:
    """Have JAX not ask libtpu where no TPU is, and nothing but the CPU is left.

    libtpu may be installed there as the compiler of `lisa_jax compile`; JAX loads it at the start of every command, and
    without a TPU it writes errors of many lines to stderr. To be called before JAX uses a device. JAX_PLATFORMS goes
    before, and so does what JAX has found itself: on a machine with TPUs it has chosen them when it was imported.
    """
    others = importlib.util.find_spec("jax_plugins") or entry_points(group="jax_plugins")
    told = "PJRT_NAMES_AND_LIBRARY_PATHS" in os.environ or "JAX_FORCE_TPU_INIT" in os.environ
    tpus = any(next(Path("/dev").glob(pattern), None) for pattern in _TPU_DEVICES)
    if jax.config.jax_platforms is None and not (others or told or tpus):
        jax.config.update("jax_platforms", "cpu")
