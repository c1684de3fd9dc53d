"""Attention by JAX's splash kernel, and what a model does in the context of a mesh."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from lisa_jax.models import splash
from lisa_jax.models.attention import attend
from lisa_jax.models.mesh import platform

ROOT = Path(__file__).parents[2]


def tpu_mesh(data):
    device = AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")
    return AbstractMesh((data, 1, 1), ("data", "fsdp", "tensor"), (AxisType.Auto,) * 3, abstract_device=device)


def shapes(n=4, length=1024, others=None):
    query, key = (jax.ShapeDtypeStruct((n, m, 2, 8), jnp.bfloat16) for m in (length, others or length))
    return query, key


def differences_from_xla(attention, *shapes):
    """Of the result and of three gradients; shapes of query, and of key and value."""
    rng, (query, key) = np.random.default_rng(0), shapes
    *inputs, gradient = (rng.normal(size=shape).astype(np.float32) for shape in (query, key, key, query))

    def both(attention):
        result, backward = jax.vjp(attention, *inputs)
        return result, *backward(gradient)

    ours = jax.jit(lambda: both(attention))()
    expected = both(lambda *inputs: jax.nn.dot_product_attention(*inputs, implementation="xla"))
    return [float(jnp.abs(one - other).max()) for one, other in zip(ours, expected, strict=True)]


@pytest.mark.parametrize("length", [256, 333])
def test_splash_equals_xla_forward_and_backward(length):
    shape = (2, length, 2, 40)
    gaps = differences_from_xla(lambda *inputs: splash.splash_attention(*inputs, interpret=True), shape, shape)
    print("max abs difference of result and three gradients:", gaps)
    assert max(gaps) < 1e-5


@pytest.mark.parametrize("lengths", [(6, 7), (9, 9)])
def test_what_makes_lengths_even_for_cudnn_is_masked_out(lengths, monkeypatch):
    attention, seen = jax.nn.dot_product_attention, []

    def on_this_machine(query, key, value, implementation, **masks):
        seen.append(query.shape[1] % 2 + key.shape[1] % 2 + value.shape[1] % 2)
        return attention(query, key, value, implementation="xla", **masks)

    monkeypatch.setattr(jax.nn, "dot_product_attention", on_this_machine)
    gaps = differences_from_xla(lambda *inputs: attend(*inputs, "cudnn"), *((2, length, 2, 8) for length in lengths))
    assert seen[0] == 0 and max(gaps) < 1e-5


def test_splash_takes_long_self_attention_whose_rows_split_over_the_mesh():
    assert splash.takes(*shapes())
    assert not splash.takes(*shapes(others=77))
    assert not splash.takes(*shapes(length=256))
    assert splash.takes(*shapes(length=1025))
    with jax.sharding.use_abstract_mesh(tpu_mesh(4)):
        assert splash.takes(*shapes(n=8)) and not splash.takes(*shapes(n=6))


def test_auto_is_cudnn_s_where_the_program_is_for_gpus_that_are_not_here(monkeypatch):
    implementations = []

    def on_this_machine(query, key, value, implementation, **masks):
        implementations.append(implementation)
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", on_this_machine)
    query, key = shapes()
    for kind, where in (("NVIDIA H100 80GB HBM3", "gpu"), ("AMD Instinct MI300X", "gpu"), ("cpu", "cpu")):
        device = AbstractDevice(device_kind=kind, num_cores=1, platform=where)
        mesh = AbstractMesh((1,), ("data",), (AxisType.Auto,), abstract_device=device)
        with jax.sharding.use_abstract_mesh(mesh):
            jax.eval_shape(lambda q, k: attend(q, k, k, "auto"), query, key)
            jax.eval_shape(lambda q, k: attend(q, k, k, "auto"), *(jax.tree.map(in_float32, (query, key))))
    assert implementations == ["cudnn", "xla", "xla", "xla", "xla", "xla"]


def in_float32(shape):
    return jax.ShapeDtypeStruct(shape.shape, jnp.float32)


def test_auto_is_splash_where_the_program_is_for_tpus():
    query, key = shapes()

    def kernels(implementation):
        return str(jax.make_jaxpr(lambda q, k: attend(q, k, k, implementation))(query, key)).count("pallas_call")

    assert platform() == "cpu" and kernels("auto") == 0
    with jax.sharding.use_abstract_mesh(tpu_mesh(4)):
        assert platform() == "tpu"
        assert (kernels("auto"), kernels("splash"), kernels("xla")) == (1, 1, 0)


def test_splash_is_refused_elsewhere():
    query = jnp.zeros((1, 1024, 1, 8))
    with pytest.raises(ValueError, match="attention 'splash' runs on TPUs only, and this program is for a cpu"):
        attend(query, query, query, "splash")


ON_A_MESH = """
import json
from functools import partial
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from lisa_jax.models import splash
from lisa_jax.models.layers import HalvedLinear
from lisa_jax.parallel.sharding import make_mesh, split_rows, traced_on

rng = np.random.default_rng(0)
mesh = make_mesh(fsdp=2, tensor=2)
layer = HalvedLinear(12)
x, weight = rng.normal(size=(4, 3, 5)).astype(np.float32), rng.normal(size=(4, 3, 6)).astype(np.float32)
params = layer.init(jax.random.key(0), x)

def halves(params, x):
    first, second = layer.apply(params, x)
    return jnp.sum(weight * first * second)

def by_one_product(params, x):
    y = x @ params["params"]["kernel"] + params["params"]["bias"]
    return jnp.sum(weight * y[..., :6] * y[..., 6:])

def largest(one, other):
    return max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))

def on_mesh(function, *rows):
    return jax.jit(traced_on(mesh, function), in_shardings=(split_rows(mesh),) * len(rows))(*rows)

expected = jax.value_and_grad(by_one_product, (0, 1))(params, x)
alone = jax.value_and_grad(halves, (0, 1))(params, x)
split = on_mesh(lambda x: jax.value_and_grad(halves, (0, 1))(params, x), x)

q, k, v, g = rng.normal(size=(4, 4, 128, 2, 8)).astype(np.float32)
def attended(attention, q, k, v):
    result, backward = jax.vjp(attention, q, k, v)
    return result, *backward(g)
kernel = on_mesh(partial(attended, partial(splash.splash_attention, interpret=True)), q, k, v)
print(json.dumps({
    "halves": largest(alone, expected),
    "halves on a mesh": largest(split, expected),
    "splash on a mesh": largest(kernel, attended(jax.nn.dot_product_attention, q, k, v)),
}))
"""


def test_on_a_mesh_every_device_works_on_its_own_rows_and_heads(command_env, fake_devices):
    env = command_env | fake_devices(8)
    done = subprocess.run([sys.executable, "-c", ON_A_MESH], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print("max abs differences:", found)
    assert max(found.values()) < 1e-5 and os.environ["JAX_PLATFORMS"] == "cpu"
