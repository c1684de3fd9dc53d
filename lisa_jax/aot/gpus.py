"""NVIDIA GPUs that are not there: what XLA's compiler has to know of a card, from the maker's data sheets.

The fields are those of XLA's `GpuTargetConfigProto`; XLA describes A100, A6000, H100 and H200 by the same numbers
(its folder `backends/gpu/target_config/specs`), the Ada cards are described here by NVIDIA's white paper of them.
"""

import dataclasses
import importlib.metadata
from typing import Any

from lisa_jax.parallel.messages import one_line

# Versions that programs are compiled for: of CUDA and of cuDNN, whose attention asks for a recent one.
_CUDA, _CUDNN = "13.0.0", "9.19.0"
# Operations a clock of a Hopper core by XLA's number of a type: of its scalar units as (units, operations), and of each
# of its four matrix units.
_HOPPER_SCALAR = {4: (64, 1), 8: (64, 1), 10: (128, 2), 11: (128, 1), 12: (64, 1), 16: (128, 2)}
_HOPPER_MATRIX = {2: 1024, 6: 1024, 10: 512, 11: 256, 12: 32, 16: 512} | dict.fromkeys(
    (19, 20, 23, 24, 25, 28, 29, 33, 35, 36), 1024
)
_HOPPER_MATRIX_CLOCK = 1.8295201


@dataclasses.dataclass(frozen=True)
class Card:
    """One GPU.

    Attributes:
      name: as CUDA names the device.
      capability: compute capability, (major, minor).
      memory: bytes that CUDA reports.
      bandwidth: bytes per second.
      cores: streaming multiprocessors.
      clock: GHz.
      l2: bytes of the second-level cache.
      shared: bytes of shared memory of a core.
      threads: of a core at once.
      fpus: float32 units of a core.
      links: of NVLink; 0 where cards meet on the bus.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    bandwidth: int
    cores: int
    clock: float
    l2: int
    shared: int
    threads: int = 2048
    fpus: int = 128
    links: int = 0

    @property
    def hopper(self) -> bool:
        """Whether it has the instructions of Hopper."""
        return self.capability[0] == 9


_HOPPER = {"cores": 132, "clock": 1.98, "l2": 50 << 20, "shared": 233472, "links": 18}
_ADA = {"shared": 102400, "threads": 1536}
H100 = Card("NVIDIA H100 80GB HBM3", (9, 0), 84_942_979_072, 3_352_320_000_000, **_HOPPER)
H200 = Card("NVIDIA H200", (9, 0), 151_397_597_184, 4_800_000_000_000, **_HOPPER)
A100 = Card(
    "NVIDIA A100-SXM4-80GB", (8, 0), 85_100_068_864, 2_039_040_000_000, 108, 1.41, 40 << 20, 167936, fpus=64, links=12
)
L40S = Card("NVIDIA L40S", (8, 9), 47_676_456_960, 864_000_000_000, 142, 2.52, 96 << 20, **_ADA)
RTX_4090 = Card("NVIDIA GeForce RTX 4090", (8, 9), 25_393_692_672, 1_008_000_000_000, 128, 2.52, 72 << 20, **_ADA)


def gpu_devices(card: Card, hosts: int, gpus: int) -> list[Any]:
    """Devices of so many hosts with so many GPUs each, for programs that are compiled but not run.

    Raises:
      ValueError: this jax has no compiler for GPUs that are not there.
    """
    from jax.experimental import topologies

    try:
        described = topologies.get_topology_desc(
            platform="cuda", target_config=target_config(card), topology=f"1x{hosts}x{gpus}"
        )
    # JAX passes on whatever the plugin says.
    except Exception as error:
        raise ValueError(
            f"GPUs that are not there cannot be compiled for ({one_line(error, 300)}): that needs the `cuda13` extra "
            f'with jax 0.11.2 or newer on Python 3.12 or newer (pip install "lisa_jax[cuda13]"; no GPU and no driver), '
            f"and jax is {importlib.metadata.version('jax')}."
        ) from error
    return list(described.devices)


def target_config(card: Card) -> str:
    """Text of the `GpuTargetConfigProto` of a card."""
    major, minor = card.capability
    extension = "ACCELERATED_FEATURES" if card.hopper else "NONE"
    cuda = dict(zip(("major", "minor", "patch"), _CUDA.split("."), strict=True))
    return f"""
gpu_device_info {{
  name: "{card.name}" device_vendor: "NVIDIA Corporation" device_address_bits: 64
  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {extension} }}
  device_memory_size: {card.memory} memory_bandwidth: {card.bandwidth} l2_cache_size: {card.l2}
  core_count: {card.cores} fpus_per_core: {card.fpus} clock_rate_ghz: {card.clock}
  shared_memory_per_core: {card.shared} shared_memory_per_block: 49152
  shared_memory_per_block_optin: {card.shared - 1024}
  threads_per_core_limit: {card.threads} threads_per_block_limit: 1024 threads_per_warp: 32
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  driver_version: "{_CUDA}" runtime_version: "{_CUDA}" compile_time_toolkit_version: "{_CUDA}"
  dnn_version: "{_CUDNN}"
  device_interconnect_info {{ active_links: {card.links} }}
  {_unit_rates(card) if card.hopper else ""}
}}
platform_name: "CUDA"
runtime_version {{ {" ".join(f"{name}: {value}" for name, value in cuda.items())} }}
device_description_str: "{card.name}"
"""


def _unit_rates(card: Card) -> str:
    scalar = (_rate(key, card.clock, units, ops) for key, (units, ops) in _HOPPER_SCALAR.items())
    # Doubles (12) are computed at the scalar units' clock.
    matrix = (
        _rate(key, card.clock if key == 12 else _HOPPER_MATRIX_CLOCK, 4, ops) for key, ops in _HOPPER_MATRIX.items()
    )
    return f"scalar_unit_description {{ {' '.join(scalar)} }} matrix_unit_description {{ {' '.join(matrix)} }}"


def _rate(key: int, clock: float, units: int, ops: int) -> str:
    value = f"clock_rate_ghz: {clock} units_per_core: {units} ops_per_clock: {ops}"
    return f"rate_infos {{ key: {key} value {{ {value} }} }}"
