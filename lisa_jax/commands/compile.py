"""Compile the real training step for a TPU pod from any machine: does it fit, what bounds it, what does it cost?

    python -m lisa_jax compile --config=configs/sd21_lisa.py --topology=v5e:4x4 --images_per_chip=4 --out=report.json

Needs libtpu (`pip install -e ".[tpu]"`), no TPU and no weights: the architecture is that of the config's base where it
is there, else that of the config's `preset`; --preset goes before both. Two levels: the lowered step
(operations, arguments, gradients) is analysed within a minute; the full compilation gives memory, memory traffic and
collectives, and takes minutes (--lowered_only leaves it out). --compare does both for plain training too and prints the
ratios. Exit status 2: the step does not fit; the largest buffers are named.
"""

import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from lisa_jax.aot.chips import Chip, parse_topology, topology_devices
from lisa_jax.aot.report import compiled_report, lowered_report, memory_error, summary
from lisa_jax.aot.step import abstract_step
from lisa_jax.commands._flags import DEFINE_checked, NewFile
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.base import architecture, chosen_preset
from lisa_jax.experiments.fields import check_control
from lisa_jax.experiments.kinds import Number, Text, Whole
from lisa_jax.families.family import Architecture
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.training.parameter_table import memory_line

_LOG = logging.getLogger("lisa_jax")
_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
_PRESET = DEFINE_checked(
    "preset",
    None,
    "Architecture, of lisa_jax.families.presets; that of the config's base or preset by default.",
    Text(),
)
_TOPOLOGY = DEFINE_checked("topology", None, "CHIP:AxB[xC], for instance v5e:16x16, v5p:4x4x4, v6e:16x16.", Text())
_IMAGES = DEFINE_checked(
    "images_per_chip",
    None,
    "Sets the global batch to so many images a chip; the config's batch_size by default.",
    Whole(1, 2**16),
)
_OUT = DEFINE_checked("out", None, "JSON file for the report.", NewFile())
_COMPARE = flags.DEFINE_bool("compare", False, "Also analyse plain training and print LISA over plain.")
_LOWERED_ONLY = flags.DEFINE_bool("lowered_only", False, "Leave out the full compilation.")
_EFFORT = DEFINE_checked(
    "effort",
    -1.0,
    "XLA's optimisation effort in [-1, 1]: -1 compiles soonest, 0 is what a run uses.",
    Number(least=-1, most=1),
)

DOES_NOT_FIT = 2


def analyse(
    config: ConfigDict, networks: Architecture, chip: Chip, devices: list[Any], *, aligns: bool
) -> dict[str, Any]:
    """Lower and compile one step; raises DoesNotFitError."""
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor, devices)
    step = abstract_step(config, networks, mesh, aligns=aligns)
    start = time.perf_counter()
    found = lowered_report(step, config, networks, aligns=aligns)
    _LOG.info(
        "%s: counted in %.0f s: %.1f GFLOP an image; gradients %.0f MB; %s",
        "LISA" if aligns else "plain",
        time.perf_counter() - start,
        found.flops_per_image / 1e9,
        found.gradient_bytes / 1e6,
        memory_line(found.argument_bytes),
    )
    if _LOWERED_ONLY.value:
        return summary(step, found, None, chip)
    start = time.perf_counter()
    stop = threading.Event()
    threading.Thread(target=_say_that_it_goes_on, args=(stop,), daemon=True).start()
    try:
        compiled = step.jitted.lower(*step.arguments).compile(
            {"exec_time_optimization_effort": _EFFORT.value, "memory_fitting_effort": _EFFORT.value}
        )
    # JAX passes on whatever the compiler says.
    except Exception as error:
        raise memory_error(error, chip) or error from None
    finally:
        stop.set()
    return summary(step, found, compiled_report(compiled, time.perf_counter() - start), chip)


def _say_that_it_goes_on(stop: threading.Event) -> None:
    start = time.perf_counter()
    while not stop.wait(60):
        _LOG.info("XLA compiles, %.0f min so far ...", (time.perf_counter() - start) / 60)


def _line(name: str, report: dict[str, Any]) -> str:
    if "compiled" not in report:
        return f"{name:<6} {report['lowered']['flops_per_image'] / 1e9:8.0f} GFLOP/image"
    compiled, times = report["compiled"], report["bound_seconds"]
    return (
        f"{name:<6} {report['lowered']['flops_per_image'] / 1e9:8.0f} GFLOP/image  "
        f"{compiled['total_bytes'] / 2**30:6.2f} of {report['hbm_bytes_per_chip'] / 2**30:.2f} GiB a chip "
        f"(arguments {compiled['argument_bytes'] / 2**30:.2f})  compute {1e3 * times['compute']:.0f} / memory "
        f"{1e3 * times['memory']:.0f} / links {1e3 * times['interconnect']:.0f} ms a step: bound by "
        f"{report['bound_by']}, at most {report['images_per_second']:.0f} images/s, MFU {report['mfu_ceiling']:.2f}; "
        f"compiled in {compiled['compile_seconds']:.0f} s"
    )


def main() -> None:
    config = check_control(_CONFIG.value)
    chip, chips = parse_topology(_TOPOLOGY.value)
    if _IMAGES.value is not None:
        config.batch_size, config.accumulate = _IMAGES.value * chips, 1
    preset = chosen_preset(config, _PRESET.value)
    networks = architecture(config, preset)
    print("architecture: " + (f"the base {config.base}" if preset is None else f"the preset {preset}"))
    devices = topology_devices(_TOPOLOGY.value)
    reports = {"lisa": analyse(config, networks, chip, devices, aligns=config.lisa.lam > 0)}
    if _COMPARE.value:
        reports["plain"] = analyse(config, networks, chip, devices, aligns=False)
    for name, report in reports.items():
        print(_line(name, report))
    if _COMPARE.value:
        lisa, plain = reports["lisa"], reports["plain"]
        print(f"FLOPs: LISA / plain {lisa['lowered']['flops_per_image'] / plain['lowered']['flops_per_image']:.3f}")
        if not _LOWERED_ONLY.value:
            ratio = lisa["compiled"]["temporary_bytes"] / plain["compiled"]["temporary_bytes"]
            print(f"temporary memory: LISA / plain {ratio:.3f}")
    if _OUT.value:
        settings = {"config": json.loads(config.to_json_best_effort()), "preset": preset}
        report = {"topology": _TOPOLOGY.value, "effort": _EFFORT.value, **settings, "reports": reports}
        Path(_OUT.value).parent.mkdir(parents=True, exist_ok=True)
        write_whole_text(_OUT.value, json.dumps(report, indent=1) + "\n")
    if not all(report.get("fits", True) for report in reports.values()):
        sys.exit(DOES_NOT_FIT)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "topology"])
    # This process compiles for TPUs and computes on none.
    jax.config.update("jax_platforms", "cpu")
    run_command(main)
