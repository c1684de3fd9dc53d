"""What a step costs on a pod or a host: memory, operations, collectives, and the least time each of them takes."""

import dataclasses
import math
import re
from typing import Any

import jax
from ml_collections import ConfigDict

from lisa_jax.aot.chips import Chip
from lisa_jax.aot.hlo import collective_bytes
from lisa_jax.aot.step import AbstractStep, abstract_step
from lisa_jax.aot.traffic import Traffic, kernel_traffic, largest_results
from lisa_jax.families.family import Architecture
from lisa_jax.parallel.sharding import make_mesh

# How often the bytes of a collective's result cross the chip's links, on a ring or torus of many chips.
_CROSSINGS = {
    "all-reduce": 2.0,
    "all-gather": 1.0,
    "reduce-scatter": 1.0,
    "all-to-all": 1.0,
    "collective-permute": 1.0,
}


class DoesNotFitError(ValueError):
    """The program needs more memory than a chip has."""


@dataclasses.dataclass(frozen=True)
class LoweredReport:
    """What is known within seconds, before XLA compiles.

    Attributes:
      argument_bytes: name -> bytes a chip of what the step is given.
      gradient_bytes: bytes of the trainable gradients: what the chips must add up at least once a step.
      flops_per_image: operations of the model, nothing computed twice: what MFU counts. See `flops_per_image`.
      hardware_flops_per_image: with those that rematerialisation computes again.
    """

    argument_bytes: dict[str, int]
    gradient_bytes: int
    flops_per_image: float
    hardware_flops_per_image: float


@dataclasses.dataclass(frozen=True)
class CompiledReport:
    """What the compiler says of one chip.

    Attributes:
      argument_bytes, temporary_bytes, total_bytes: memory; donated arguments count once.
      flops: of one step, XLA's count after optimisation, without those of kernels; of the loop over microbatches one
        turn. None of GPUs, for which XLA counts nothing.
      hbm_bytes: moved between the chip and its memory in one step; of kernels their arguments and results, once; of the
        loop over microbatches one turn.
      traffic: of GPUs those bytes by kind of kernel, see `kernel_traffic`.
      largest: of GPUs the largest arrays, see `largest_results`.
      collectives: kind -> bytes of the results of one step.
      looped_collectives: those of them that are within loops, so that accumulation repeats them.
      compile_seconds: how long XLA took.
    """

    argument_bytes: int
    temporary_bytes: int
    total_bytes: int
    flops: float | None
    hbm_bytes: float
    traffic: dict[str, Traffic]
    largest: list[str]
    collectives: dict[str, int]
    looped_collectives: dict[str, int]
    compile_seconds: float


def lowered_report(
    step: AbstractStep, config: ConfigDict, architecture: Architecture, *, aligns: bool
) -> LoweredReport:
    """What shapes, shardings and the count of operations say of a step."""
    flops = hardware_flops = flops_per_image(config, architecture, aligns=aligns)
    if config.remat != "none":
        hardware_flops = flops_per_image(config, architecture, aligns=aligns, remat=config.remat)
    return LoweredReport(step.chip_bytes(), step.trainable_bytes, flops, hardware_flops)


def flops_per_image(config: ConfigDict, architecture: Architecture, *, aligns: bool, remat: str = "none") -> float:
    """XLA's count of the operations of a step before optimisation, for one image; of the model alone without `remat`.

    Lowered for the CPU and a few images on one device: a TPU that is not there counts only what is compiled.
    """
    alone = config.copy_and_resolve_references()
    alone.update(batch_size=math.lcm(4, config.lisa.align_every), accumulate=1, attention="xla", remat=remat)
    mesh = make_mesh(devices=jax.devices("cpu")[:1])
    step = abstract_step(alone, architecture, mesh, aligns=aligns)
    return step.jitted.lower(*step.arguments).cost_analysis()["flops"] / step.batch_size


def compiled_report(compiled: jax.stages.Compiled, seconds: float) -> CompiledReport:
    """Read the compiler's numbers."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    text = compiled.as_text()
    total = arguments + temporary + memory.output_size_in_bytes - memory.alias_size_in_bytes
    traffic = {} if cost else kernel_traffic(text)
    return CompiledReport(
        arguments,
        temporary,
        total + memory.generated_code_size_in_bytes,
        cost["flops"] if cost else None,
        cost["bytes accessed"] if cost else sum(moved.bytes for moved in traffic.values()),
        traffic,
        [] if cost else largest_results(text),
        collective_bytes(text),
        collective_bytes(text, in_loops=True),
        seconds,
    )


def bounds(step: AbstractStep, lowered: LoweredReport, compiled: CompiledReport, chip: Chip) -> dict[str, float]:
    """Seconds that a step takes at least for its operations, its memory traffic and its collectives.

    Operations are those counted before optimisation where that is more, for XLA does not count what the kernels of
    fused attention compute. With several microbatches, traffic is that of the update, all it touches read and written
    once, and for each microbatch the rest of what XLA counts.
    """
    crossings = sum(_CROSSINGS[kind] * size for kind, size in compiled.collectives.items())
    microbatch_bytes = max(0.0, compiled.hbm_bytes - step.update_bytes)
    counted = lowered.hardware_flops_per_image * step.batch_size / step.chips
    return {
        "compute": max(compiled.flops or 0.0, counted) / chip.flops,
        "memory": (compiled.hbm_bytes + (step.accumulate - 1) * microbatch_bytes) / chip.hbm_bandwidth,
        "interconnect": crossings / chip.link_bandwidth,
    }


def summary(step: AbstractStep, lowered: LoweredReport, compiled: CompiledReport | None, chip: Chip) -> dict[str, Any]:
    """Everything as one JSON object.

    `images_per_second` and `mfu_ceiling` are bounds from above: they suppose that operations, memory traffic and
    collectives overlap perfectly. `bytes accessed` counts what each fused operation reads and writes, so the memory
    bound is that of a chip without caches.
    """
    found: dict[str, Any] = {
        "chip": chip.name,
        "chips": step.chips,
        "batch_size": step.batch_size,
        "images_per_chip": step.batch_size / step.chips,
        "hbm_bytes_per_chip": chip.hbm_bytes,
        "lowered": dataclasses.asdict(lowered),
    }
    if compiled is not None:
        times = bounds(step, lowered, compiled, chip)
        slowest = max(times, key=times.get)
        images = step.batch_size / times[slowest]
        found |= {
            "compiled": dataclasses.asdict(compiled),
            "fits": compiled.total_bytes <= chip.hbm_bytes,
            "bound_seconds": times,
            "bound_by": slowest,
            "images_per_second": images,
            "mfu_ceiling": lowered.flops_per_image * images / (step.chips * chip.flops),
        }
    return found


def memory_error(error: Exception, chip: Chip) -> DoesNotFitError | None:
    """What the compiler's out-of-memory error says in one sentence, or None if it is another error."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and "Ran out of memory" not in text:
        return None
    used = re.search(r"Used (\S+) of (\S+) hbm", text)
    needs = f"needs {used[1]} of {used[2]}" if used else f"needs more than {chip.hbm_bytes / 2**30:.2f}G"
    buffers = re.findall(r"Size: (\S+)\s.*?Shape: (\S+)", text, re.DOTALL)[:5]
    return DoesNotFitError(_too_much(chip, needs, [f"{size} {shape}" for size, shape in buffers]))


def what_does_not_fit(compiled: CompiledReport, chip: Chip) -> str | None:
    """In one sentence, that a compiled step takes more memory than the chip has; None where it fits."""
    if compiled.total_bytes <= chip.hbm_bytes:
        return None
    needs = f"needs {compiled.total_bytes / 2**30:.2f}G of {chip.hbm_bytes / 2**30:.2f}G"
    return _too_much(chip, needs, compiled.largest)


def _too_much(chip: Chip, needs: str, largest: list[str]) -> str:
    return (
        f"A step does not fit on a {chip.name}: it {needs} HBM. Largest buffers: "
        f"{'; '.join(largest) or 'not named by the compiler'}. Use fewer images a chip, --config.remat=full, or split "
        "the trees over --config.mesh.fsdp."
    )
