"""Sums over the rows of a batch that lies on several devices."""

import os
import subprocess
import sys
from pathlib import Path

SUM = """
import jax, jax.numpy as jnp
from jax.sharding import PartitionSpec
from lisa_jax.models.mesh import summed_over_rows
from lisa_jax.parallel.sharding import make_mesh

mesh = make_mesh()
rows = jnp.arange(24, dtype=jnp.bfloat16).reshape(4, 6)
split = jax.device_put(rows, jax.NamedSharding(mesh, PartitionSpec("data")))
with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    found = jax.jit(lambda rows: summed_over_rows(lambda own: {"sum": own.sum(0)}, rows))(split)["sum"]
assert found.dtype == jnp.bfloat16 and (found == rows.sum(0)).all(), found
"""


def test_sums_of_bfloat16_do_not_end_the_compiler_for_cpus():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", SUM], env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
