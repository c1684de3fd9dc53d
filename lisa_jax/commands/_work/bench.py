"""What `lisa_jax bench` does, once its flags are read."""

import itertools
import json
import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from jax.sharding import Mesh
from ml_collections import ConfigDict

from lisa_jax.aot.report import flops_per_image
from lisa_jax.aot.step import AbstractStep, abstract_step
from lisa_jax.commands._work._phases import Phases
from lisa_jax.dual_branch import Params
from lisa_jax.experiments.base import architecture, chosen_preset, load_base, medium_of
from lisa_jax.experiments.control import control_experiment
from lisa_jax.experiments.fields import check_control
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.parallel.compiling import Announced, explaining_the_alarm
from lisa_jax.parallel.sharding import global_rows, make_mesh
from lisa_jax.training.measure import StepTimes, peak_flops, peak_memory, time_steps
from lisa_jax.training.program import make_program, run_keys
from lisa_jax.training.state import TrainState

FLAGS = flags.FLAGS

PROFILED_STEPS = 3
# Random leaves repeat one block of so many numbers: drawing a billion of them would take longer than the benchmark.
BLOCK = 1 << 20

Arguments = tuple[TrainState, Params, Iterator[Any], jax.Array]


def random_arguments(step: AbstractStep, seed: int = 0) -> Arguments:
    """Arrays for an abstract step: random weights that keep activations in bounds, and one random batch for ever."""
    rng = np.random.default_rng(seed)
    block = rng.standard_normal(BLOCK, np.float32)

    def weight(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        fan_in = math.prod(leaf.shape[:-1]) or 1
        draw = np.ones(1) if name == "scale" else block * (0.5 / math.sqrt(fan_in))
        return jax.device_put(np.resize(draw.astype(leaf.dtype), leaf.shape), leaf.sharding)

    def zeros(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding)

    def rows(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        draw = rng.integers(0, 256, BLOCK) if leaf.dtype == np.uint8 else block
        return jax.device_put(np.resize(draw.astype(leaf.dtype), leaf.shape), leaf.sharding)

    state, frozen, batch, key = step.arguments
    weights = partial(jax.tree_util.tree_map_with_path, weight)
    first = jax.tree.map(zeros, state)._replace(params=weights(state.params))
    arrays = jax.tree.map(rows, batch)
    return first, weights(frozen), itertools.repeat(arrays), jax.device_put(jax.random.key(seed), key.sharding)


def config_arguments(config: ConfigDict, mesh: Mesh) -> tuple[Announced, Arguments]:
    """The jitted step of a config, and its arguments from the config's base and data, inputs through the pipeline."""
    # Here, for an architecture alone needs none of the packages that read data.
    from lisa_jax.experiments.channels import choose_channels
    from lisa_jax.experiments.conditions import choose_condition, condition_specs
    from lisa_jax.experiments.splits import load_split, training_batches

    choose_condition(config)
    choose_channels(config)
    family = load_base(config, mesh)
    train = load_split(config, family, "train", condition_specs(config).values())
    experiment = control_experiment(config, family, train.frozen(), train.empty)
    program = make_program(experiment, config, mesh)
    inputs = (global_rows(batch["inputs"], mesh) for batch in training_batches(config, train).iterate(0))
    init_key, step_key = run_keys(config.seed)
    state = program.initialise(experiment.load_start(), init_key)
    return program.step_at(0), (state, program.place_frozen(experiment.frozen), inputs, step_key)


def measure(config: ConfigDict, mesh: Mesh, phases: Phases) -> dict[str, Any]:
    """Compile and time the step at step 0 of a config; see `measurements` for what comes back."""
    phases.reached("devices", kind=jax.devices()[0].device_kind, number=mesh.size)
    aligns = config.lisa.lam > 0
    preset = chosen_preset(config, FLAGS.preset)
    if preset is None:
        jitted, (state, frozen, batches, key) = config_arguments(config, mesh)
    else:
        networks = architecture(config, preset)
        abstract = abstract_step(config, networks, mesh, aligns=aligns)
        jitted, (state, frozen, batches, key) = abstract.jitted, random_arguments(abstract)
    first = next(batches)
    jax.block_until_ready((state, frozen, first))
    phases.reached("weights and a batch")
    lowered = jitted.lower(state, frozen, first, key)
    phases.reached("lowered")
    start = time.perf_counter()
    with explaining_the_alarm(jitted.what):
        compiled = lowered.compile()
    compile_seconds, temporary = time.perf_counter() - start, compiled.memory_analysis().temp_size_in_bytes
    phases.reached("compiled", temporary_gib=round(temporary / 2**30, 2))
    state, times = time_steps(compiled, state, frozen, batches, key, warmup=1, steps=1)
    phases.reached("second step", ms=round(1e3 * times.mean, 1))
    state, times = time_steps(compiled, state, frozen, batches, key, warmup=FLAGS.warmup, steps=FLAGS.steps)
    images = config.batch_size / times.mean / mesh.size
    phases.reached("timed", ms=round(1e3 * times.mean, 1), images_per_second_per_device=round(images, 2))
    if FLAGS.profile:
        with jax.profiler.trace(FLAGS.profile):
            time_steps(compiled, state, frozen, batches, key, warmup=1, steps=PROFILED_STEPS - 2)
        phases.reached("profiled")
    # Last, for it lowers the step once more; a deadline then costs the share of the peak, not the times.
    flops = None if preset is None else flops_per_image(config, networks, aligns=aligns)
    found = measurements(times, config.batch_size, mesh.size, flops, jax.devices()[0])
    return {"preset": preset} | found | {"compile_seconds": compile_seconds, "temporary_bytes": temporary}


def measurements(
    times: StepTimes, batch_size: int, devices: int, flops: float | None, device: jax.Device
) -> dict[str, Any]:
    """Everything as one JSON object; `mfu` is None where the operations or the device's peak are not known.

    Args:
      times: of the steps.
      batch_size: global.
      devices: how many share it.
      flops: operations of one image, recomputation not counted.
      device: one of them.
    """
    per_device = batch_size / times.mean / devices
    peak = peak_flops(device)
    return {
        "device": device.device_kind,
        "devices": devices,
        "batch_size": batch_size,
        "images_per_second_per_device": per_device,
        "step_ms": {f"p{percent}": 1e3 * times.percentile(percent) for percent in (10, 50, 90, 99)},
        "waiting_share": times.waiting_share,
        "peak_bytes": peak_memory(device),
        "flops_per_image": flops,
        "mfu": None if flops is None or peak is None else flops * per_device / peak,
    }


def _table(found: dict[str, Any], unit: str) -> str:
    def known(value: float | None, text: str) -> str:
        return "not known" if value is None else text

    steps = "  ".join(f"{name} {value:.1f}" for name, value in found["step_ms"].items())
    preset, flops = found["preset"], found["flops_per_image"]
    lines = {
        "networks": "of the config's base" if preset is None else f"of the preset {preset}, with random weights",
        "device": f"{found['devices']} x {found['device']}, {found['batch_size']} {unit}s a step",
        f"{unit}s/s a device": f"{found['images_per_second_per_device']:.2f}",
        "step, ms": steps,
        "waiting for data": f"{100 * found['waiting_share']:.1f}% of the time",
        "peak memory": known(found["peak_bytes"], f"{(found['peak_bytes'] or 0) / 2**30:.2f} GiB a device"),
        "temporary buffers": f"{found['temporary_bytes'] / 2**30:.2f} GiB a device, by the compiler's plan",
        "model operations": known(flops, f"{(flops or 0) / 1e9:.1f} GFLOP/{unit}"),
        "MFU": known(found["mfu"], f"{100 * (found['mfu'] or 0):.1f}%"),
    }
    return "\n".join(f"{name:<18} {text}" for name, text in lines.items())


def main() -> None:
    config = check_control(FLAGS.config)
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    found = measure(config, mesh, Phases(FLAGS.phases, FLAGS.seconds))
    print(_table(found, medium_of(config).unit))
    if FLAGS.out:
        Path(FLAGS.out).parent.mkdir(parents=True, exist_ok=True)
        write_whole_text(FLAGS.out, json.dumps(found, indent=1) + "\n")
