"""What attention and rematerialisation cost on a TPU that is not there: parts of Stable Diffusion 2.1 at 512 px.

    python benchmarks/tpu_blocks.py          needs `pip install -e ".[tpu]"`, no TPU; minutes on two cores

Forward and backward, bfloat16, 4 images on one v5e chip, by the compiler's plan: temporary memory, and the bytes that
operations read and write (of a kernel its arguments and results, once). Operations are XLA's count before optimisation,
with plain attention.
"""

import os

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from lisa_jax.aot.chips import topology_devices
from lisa_jax.models.attention import attend
from lisa_jax.models.blocks import BlockSettings, DownBlock
from lisa_jax.models.remat import REMAT_POLICIES
from lisa_jax.parallel.sharding import make_mesh, replicated, traced_on

IMAGES = 4
TOPOLOGY = "v5e:2x2"
# Tokens, heads and width of a head of the self-attention of each level.
LAYERS = ((4096, 5, 64), (1024, 10, 64), (256, 20, 64))
TEXT = (77, 1024)


def shape(mesh: Mesh, *sizes: int) -> jax.ShapeDtypeStruct:
    """A bfloat16 array for every image."""
    return jax.ShapeDtypeStruct((IMAGES, *sizes), jnp.bfloat16, sharding=replicated(mesh))


def attention_layer(mesh: Mesh, tokens: int, heads: int, width: int, implementation: str) -> jax.stages.Lowered:
    """Self-attention alone, and its gradients."""

    def both(query, key, value, gradient):
        result, backward = jax.vjp(lambda *inputs: attend(*inputs, implementation), query, key, value)
        return result, backward(gradient)

    return jax.jit(traced_on(mesh, both)).lower(*[shape(mesh, tokens, heads, width)] * 4)


def down_block(mesh: Mesh, remat: str, attention: str) -> jax.stages.Lowered:
    """The finest down block of the side network, two resnets and two transformers, and its gradients."""
    settings = BlockSettings(
        32, 1e-5, heads=5, linear_projection=True, dtype=jnp.bfloat16, remat=remat, attention=attention
    )
    block = DownBlock(channels=320, layers=2, settings=settings, downsample_padding=1)
    inputs = shape(mesh, 64, 64, 320), shape(mesh, 1280), shape(mesh, *TEXT)
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)),
        jax.eval_shape(traced_on(mesh, block.init), jax.random.key(0), *inputs),
    )

    def loss(params, *inputs):
        _, skips = block.apply(params, *inputs)
        return sum(jnp.mean(jnp.square(skip.astype(jnp.float32))) for skip in skips)

    return jax.jit(traced_on(mesh, jax.grad(loss, (0, 1)))).lower(params, *inputs)


def plan(lowered: jax.stages.Lowered) -> str:
    """Temporary memory and traffic of an image."""
    compiled = lowered.compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes / IMAGES
    traffic = compiled.cost_analysis()["bytes accessed"] / IMAGES
    return f"{temporary / 2**20:.0f} | {traffic / 1e6:.0f}"


def main() -> None:
    tpu, cpu = make_mesh(devices=topology_devices(TOPOLOGY)[:1]), make_mesh(devices=jax.devices()[:1])
    print("| self-attention, tokens x heads x width | attention | temporary, MiB an image | traffic, MB an image |")
    print("|---|---|---|---|")
    for layer in LAYERS:
        for implementation in ("xla", "auto"):
            row = plan(attention_layer(tpu, *layer, implementation))
            print(f"| {' x '.join(map(str, layer))} | {implementation} | {row} |", flush=True)
    print("\n| remat | attention | GFLOP an image | temporary, MiB an image | traffic, MB an image |")
    print("|---|---|---|---|---|")
    for remat in REMAT_POLICIES:
        flops = down_block(cpu, remat, "xla").cost_analysis()["flops"] / IMAGES
        for attention in ("xla", "auto"):
            row = plan(down_block(tpu, remat, attention))
            print(f"| {remat} | {attention} | {flops / 1e9:.0f} | {row} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
