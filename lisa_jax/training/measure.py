"""How fast a training step is, what it computes, and what share of the chip that uses."""

import dataclasses
import time
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from lisa_jax.dual_branch import Params
from lisa_jax.training.state import TrainState
from lisa_jax.training.step import TrainStep

# Dense bfloat16 FLOP/s of one device as JAX counts devices, from the vendors' data sheets; the first name found in the
# device kind, in lower case, counts.
PEAK_FLOPS = {
    "h100 pcie": 756e12,
    "h100 nvl": 835e12,
    "h100": 989e12,
    "h200": 989e12,
    "gh200": 989e12,
    "b200": 2250e12,
    "a100": 312e12,
    "l40s": 362e12,
    "l40": 181e12,
    "l4": 121e12,
    "rtx 4090": 165e12,
    "tpu v6 lite": 918e12,
    "tpu v6e": 918e12,
    "tpu v5p": 459e12,
    "tpu v5 lite": 197e12,
    "tpu v5e": 197e12,
    "tpu v5": 459e12,
    "tpu v4": 275e12,
    "tpu v3": 61.5e12,  # half a chip: each core is a device
}


@dataclasses.dataclass(frozen=True)
class StepTimes:
    """Seconds of each timed step, and how many of them the host waited for its batch; float64 (steps,)."""

    step: np.ndarray
    waiting: np.ndarray

    def percentile(self, percent: float) -> float:
        """Seconds that this percentage of the steps did not exceed."""
        return float(np.percentile(self.step, percent))

    @property
    def mean(self) -> float:
        """Mean seconds of a step: what throughput follows."""
        return float(self.step.mean())

    @property
    def waiting_share(self) -> float:
        """Share of the time in which the host waited for data; the device may have been at work meanwhile."""
        return float(self.waiting.sum() / self.step.sum())


def time_steps(
    step: TrainStep,
    state: TrainState,
    frozen: Params,
    batches: Iterator[Mapping[str, jax.Array]],
    key: jax.Array,
    *,
    warmup: int,
    steps: int,
) -> tuple[TrainState, StepTimes]:
    """Run `warmup` steps unmeasured, `steps` measured ones, and one more that keeps the host busy during the last.

    As in training, the host is one step ahead: a step's time is the interval between its end and the end of the one
    before, so that dispatching is hidden where training hides it.

    Args:
      step: compiled (state, frozen, batch, key) -> (state, metrics).
      state: the state to start from; may be donated.
      frozen: the main network's parameters.
      batches: at least warmup + steps + 1 batches on the device.
      key: the run's PRNG key.
      warmup: steps before, at least 1.
      steps: steps that count.

    Returns:
      The last state and the times.
    Raises:
      ValueError: warmup or steps less than 1.
    """
    if warmup < 1 or steps < 1:
        raise ValueError(f"warmup is {warmup} and steps {steps}: both must be 1 or more.")
    ends, waits = [], []
    running = None
    for _ in range(warmup + steps + 1):
        start = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - start)
        state, found = step(state, frozen, batch, key)
        if running is not None:
            jax.block_until_ready(running)
            ends.append(time.perf_counter())
        running = found
    jax.block_until_ready((state, running))
    # Between the ends of two steps the host waits for the batch of the step after them.
    return state, StepTimes(np.diff(ends)[warmup - 1 :], np.asarray(waits[warmup + 1 :]))


def peak_flops(device: jax.Device) -> float | None:
    """Dense bfloat16 FLOP/s of a device by its data sheet; None where it is not known."""
    return peak_flops_of(device.device_kind)


def peak_flops_of(device_kind: str) -> float | None:
    """The same of a kind of device, as JAX names it."""
    return next((flops for name, flops in PEAK_FLOPS.items() if name in device_kind.lower()), None)


def peak_memory(device: jax.Device) -> int | None:
    """Most bytes ever in use on a device at once in this process; None where the backend keeps no count."""
    return (device.memory_stats() or {}).get("peak_bytes_in_use")
