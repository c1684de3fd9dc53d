"""What `lisa_jax compile` does, once its flags are read."""

import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from lisa_jax.aot.chips import Chip, parse_topology, topology_devices
from lisa_jax.aot.report import compiled_report, lowered_report, memory_error, summary, what_does_not_fit
from lisa_jax.aot.step import abstract_step
from lisa_jax.experiments.base import architecture, chosen_preset, medium_of
from lisa_jax.experiments.fields import check_control
from lisa_jax.families.family import Architecture
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.parallel.compiling import explaining_the_alarm
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.training.parameter_table import memory_line

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")

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
        "%s: counted in %.0f s: %.1f GFLOP/%s; gradients %.0f MB; %s",
        "LISA" if aligns else "plain",
        time.perf_counter() - start,
        found.flops_per_image / 1e9,
        medium_of(config).unit,
        found.gradient_bytes / 1e6,
        memory_line(found.argument_bytes),
    )
    if FLAGS.lowered_only:
        return summary(step, found, None, chip)
    start = time.perf_counter()
    stop = threading.Event()
    threading.Thread(target=_say_that_it_goes_on, args=(stop,), daemon=True).start()
    # The compiler for GPUs ends soon enough as it is, and its plan is then that of a run.
    effort = (
        None if chip.card else dict.fromkeys(("exec_time_optimization_effort", "memory_fitting_effort"), FLAGS.effort)
    )
    try:
        with explaining_the_alarm(step.jitted.what):
            compiled = step.jitted.lower(*step.arguments).compile(effort)
    # JAX passes on whatever the compiler says.
    except Exception as error:
        raise memory_error(error, chip) or error from None
    finally:
        stop.set()
    report = compiled_report(compiled, time.perf_counter() - start)
    if too_much := what_does_not_fit(report, chip):
        _LOG.warning("%s", too_much)
    return summary(step, found, report, chip)


def _say_that_it_goes_on(stop: threading.Event) -> None:
    start = time.perf_counter()
    while not stop.wait(60):
        _LOG.info("XLA compiles, %.0f min so far ...", (time.perf_counter() - start) / 60)


def _line(name: str, report: dict[str, Any], unit: str) -> str:
    if "compiled" not in report:
        return f"{name:<6} {report['lowered']['flops_per_image'] / 1e9:8.0f} GFLOP/{unit}"
    compiled, times = report["compiled"], report["bound_seconds"]
    return (
        f"{name:<6} {report['lowered']['flops_per_image'] / 1e9:8.0f} GFLOP/{unit}  "
        f"{compiled['total_bytes'] / 2**30:6.2f} of {report['hbm_bytes_per_chip'] / 2**30:.2f} GiB a chip "
        f"(arguments {compiled['argument_bytes'] / 2**30:.2f})  compute {1e3 * times['compute']:.0f} / memory "
        f"{1e3 * times['memory']:.0f} / links {1e3 * times['interconnect']:.0f} ms a step: bound by "
        f"{report['bound_by']}, at most {report['images_per_second']:.1f} {unit}s/s, MFU {report['mfu_ceiling']:.2f}; "
        f"compiled in {compiled['compile_seconds']:.0f} s"
        + "".join(
            f"\n  {kind:<14} {moved.kernels:6d} kernels {moved.bytes / 1e9:9.3f} GB"
            for kind, moved in compiled["traffic"].items()
        )
    )


def main() -> None:
    config = check_control(FLAGS.config)
    chip, chips = parse_topology(FLAGS.topology)
    if FLAGS.images_per_chip is not None:
        config.batch_size, config.accumulate = FLAGS.images_per_chip * chips, 1
    preset = chosen_preset(config, FLAGS.preset)
    networks = architecture(config, preset)
    print("architecture: " + (f"the base {config.base}" if preset is None else f"the preset {preset}"))
    devices = topology_devices(FLAGS.topology)
    reports = {"lisa": analyse(config, networks, chip, devices, aligns=config.lisa.lam > 0)}
    if FLAGS.compare:
        reports["plain"] = analyse(config, networks, chip, devices, aligns=False)
    for name, report in reports.items():
        print(_line(name, report, medium_of(config).unit))
    if FLAGS.compare:
        lisa, plain = reports["lisa"], reports["plain"]
        print(f"FLOPs: LISA / plain {lisa['lowered']['flops_per_image'] / plain['lowered']['flops_per_image']:.3f}")
        if not FLAGS.lowered_only:
            ratio = lisa["compiled"]["temporary_bytes"] / plain["compiled"]["temporary_bytes"]
            print(f"temporary memory: LISA / plain {ratio:.3f}")
    if FLAGS.out:
        settings = {"config": json.loads(config.to_json_best_effort()), "preset": preset}
        report = {"topology": FLAGS.topology, "effort": FLAGS.effort, **settings, "reports": reports}
        Path(FLAGS.out).parent.mkdir(parents=True, exist_ok=True)
        write_whole_text(FLAGS.out, json.dumps(report, indent=1) + "\n")
    if not all(report.get("fits", True) for report in reports.values()):
        sys.exit(DOES_NOT_FIT)
