"""What the chips offer, from the makers' public data sheets, and the pods they come in."""

import dataclasses
import math
import os
import re
from typing import Any

import numpy as np

from lisa_jax.parallel.messages import one_line
from lisa_jax.training.measure import PEAK_FLOPS


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak rates of one chip.

    Attributes:
      name: as JAX names the device kind.
      hbm_bytes: memory that a program may use.
      hbm_bandwidth: bytes per second.
      link_bandwidth: bytes per second that leave the chip for others of its pod, over all links.
    """

    name: str
    hbm_bytes: float
    hbm_bandwidth: float
    link_bandwidth: float

    @property
    def flops(self) -> float:
        """Dense bfloat16 operations per second."""
        return PEAK_FLOPS[self.name.lower()]


# Topology prefix -> chip. HBM: what libtpu lets a program have, somewhat less than the data sheet's figure.
CHIPS = {
    "v4": Chip("TPU v4", 31.75 * 2**30, 1228e9, 2400e9 / 8),
    "v5e": Chip("TPU v5 lite", 15.75 * 2**30, 819e9, 1600e9 / 8),
    "v5p": Chip("TPU v5", 94.75 * 2**30, 2765e9, 4800e9 / 8),
    "v6e": Chip("TPU v6 lite", 31.25 * 2**30, 1640e9, 3584e9 / 8),
}


def parse_topology(topology: str) -> tuple[Chip, int]:
    """Chip and number of chips of a topology such as `v5e:4x4`.

    Raises:
      ValueError: a chip that is not in the table, or no shape.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)+)", topology)
    if match is None or match[1] not in CHIPS:
        raise ValueError(f"Topology '{topology}' is not known: write CHIP:AxB[xC] with a chip of {', '.join(CHIPS)}.")
    return CHIPS[match[1]], math.prod(int(size) for size in match[2].split("x"))


def topology_devices(topology: str) -> list[Any]:
    """The devices of a pod that is not there, process by process; needs libtpu (`pip install lisa_jax[tpu]`).

    Raises:
      ValueError: libtpu is missing, or does not know the topology.
    """
    from jax.experimental import topologies

    parse_topology(topology)
    # No TPU is asked anything: neither for its metadata, nor whether another process uses it.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    # JAX passes on whatever the plugin says.
    except Exception as error:
        raise ValueError(
            f"Topology '{topology}' cannot be described ({one_line(error, 300)}): install the `tpu` extra, which has "
            "libtpu."
        ) from error
    return sorted(np.ravel(described.devices), key=lambda device: (device.process_index, device.id))
