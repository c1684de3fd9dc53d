"""Memory that a step on a CPU has freed is there for the next one."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from lisa_jax.parallel.cpu_memory import compiler_options

# Prints the bytes of temporary memory of a step, and those of pages that are handed out: the fewest of a few steps, for
# each thread that runs one fetches its own.
STEPS = """
import resource, jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh
from lisa_jax.parallel.cpu_memory import compiler_options, keep_freed_memory

def step(x, w):
    for _ in range(3):
        x = jnp.tanh(x @ w)[::-1].T.reshape(x.shape)
    return x.sum()

keep_freed_memory()
x, w = jnp.ones((1 << 17, 32)), jnp.ones((32, 32))
step = jax.jit(step, compiler_options=compiler_options(Mesh(np.asarray(jax.devices()), "d"), 0)).lower(x, w).compile()
def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

found = []
for _ in range(8):
    before = pages()
    step(x, w).block_until_ready()
    found.append(pages() - before)
print(step.memory_analysis().temp_size_in_bytes, min(found) * resource.getpagesize())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of Linux's C library")
def test_a_step_gets_the_memory_that_the_one_before_has_freed():
    done = subprocess.run([sys.executable, "-c", STEPS], check=True, stdout=subprocess.PIPE)
    temporary, handed_out = map(int, done.stdout.split())
    assert temporary >= 2**25
    assert handed_out < 2**20


def test_large_networks_and_other_devices_than_cpus_are_compiled_as_ever():
    class Chip:
        platform = "gpu"

    here = Mesh(np.asarray(jax.devices()[:1]), "d")
    assert compiler_options(Mesh(np.asarray([Chip()]), "d"), held=0) == compiler_options(here, held=2**31) == {}
    assert compiler_options(here, held=2**20)
