"""What the chips offer, from the makers' public data sheets, and the pods and hosts that they come in."""

import dataclasses
import math
import os
import re
from typing import Any

import numpy as np

from lisa_jax.aot.gpus import A100, H100, H200, L40S, RTX_4090, Card, gpu_devices
from lisa_jax.parallel.messages import one_line
from lisa_jax.training.measure import peak_flops_of

# Share of a GPU's memory that a program may use, as the launchers set it.
GPU_MEMORY_SHARE = 0.92


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak rates of one chip.

    Attributes:
      name: as JAX names the device kind.
      hbm_bytes: memory that a program may use.
      hbm_bandwidth: bytes per second.
      link_bandwidth: bytes per second that leave the chip for others of its pod or host, over all links.
      host_bandwidth: bytes per second and chip between hosts, where they are linked otherwise.
      card: of a GPU, what its compiler has to know.
    """

    name: str
    hbm_bytes: float
    hbm_bandwidth: float
    link_bandwidth: float
    host_bandwidth: float | None = None
    card: Card | None = None

    @property
    def flops(self) -> float:
        """Dense bfloat16 operations per second."""
        return peak_flops_of(self.name)


def _gpu(card: Card, link_bandwidth: float, host_bandwidth: float) -> Chip:
    return Chip(card.name, GPU_MEMORY_SHARE * card.memory, card.bandwidth, link_bandwidth, host_bandwidth, card)


# Topology prefix -> chip. HBM of a TPU: what libtpu lets a program have, somewhat less than the data sheet's figure.
# Between hosts every GPU has a network card of 400, 200 or, without NVLink, 100 Gbit/s.
CHIPS = {
    "v4": Chip("TPU v4", 31.75 * 2**30, 1228e9, 2400e9 / 8),
    "v5e": Chip("TPU v5 lite", 15.75 * 2**30, 819e9, 1600e9 / 8),
    "v5p": Chip("TPU v5", 94.75 * 2**30, 2765e9, 4800e9 / 8),
    "v6e": Chip("TPU v6 lite", 31.25 * 2**30, 1640e9, 3584e9 / 8),
    "h200": _gpu(H200, 450e9, 50e9),
    "h100": _gpu(H100, 450e9, 50e9),
    "a100": _gpu(A100, 300e9, 25e9),
    "l40s": _gpu(L40S, 32e9, 12.5e9),
    "4090": _gpu(RTX_4090, 32e9, 12.5e9),
}


def parse_topology(topology: str) -> tuple[Chip, int]:
    """Chip and number of chips of a topology: `v5e:4x4` of TPUs, `h100:8` or, of two hosts, `h100:2x8` of GPUs.

    Raises:
      ValueError: a chip that is not in the table, or no shape.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", topology)
    chip = CHIPS.get(match[1]) if match else None
    sizes = [int(size) for size in match[2].split("x")] if match else []
    if chip is None or 0 in sizes or (len(sizes) > 2 if chip.card else len(sizes) < 2):
        raise ValueError(
            f"Topology '{topology}' is not known: write CHIP:AxB[xC] of TPUs, CHIP:GPUS or CHIP:HOSTSxGPUS of GPUs, "
            f"with a chip of {', '.join(CHIPS)}."
        )
    if chip.card and len(sizes) == 2 and sizes[0] > 1:
        chip = dataclasses.replace(chip, link_bandwidth=chip.host_bandwidth)
    return chip, math.prod(sizes)


def topology_devices(topology: str) -> list[Any]:
    """The devices of a pod or of hosts that are not there, process by process.

    Needs libtpu for TPUs (`pip install lisa_jax[tpu]`), for GPUs `lisa_jax[cuda13]` with jax 0.11.2 or newer.

    Raises:
      ValueError: the compiler is missing, or does not know the topology.
    """
    chip, number = parse_topology(topology)
    if chip.card is None:
        return _tpu_devices(topology)
    hosts = int(topology.split(":")[1].split("x")[0]) if "x" in topology else 1
    return gpu_devices(chip.card, hosts, number // hosts)


# How libtpu is told that it is but a compiler. No TPU is asked anything: neither for its metadata, nor whether another
# process uses it; without the last two libtpu complains that it does not know on which host of which TPU it is.
_AS_A_COMPILER = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v4-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def _tpu_devices(topology: str) -> list[Any]:
    from jax.experimental import topologies

    for name, value in _AS_A_COMPILER.items():
        os.environ.setdefault(name, value)
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    # JAX passes on whatever the plugin says.
    except Exception as error:
        raise ValueError(
            f"Topology '{topology}' cannot be described ({one_line(error, 300)}): install the `tpu` extra, which has "
            "libtpu."
        ) from error
    return sorted(np.ravel(described.devices), key=lambda device: (device.process_index, device.id))
