"""The InceptionV3 of the Fréchet Inception distance, without its classifier, NHWC.

Szegedy et al., "Rethinking the Inception Architecture", arXiv 1512.00567, as TensorFlow's `inception-2015-12-05` has
it; what differs from torchvision's model is the pooling inside the blocks: averages leave padding out, and the last
block takes the maximum. Parameter names are those of the weights' PyTorch conversion in pytorch-fid
(`Mixed_5b/branch1x1/conv/kernel`).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.evaluation.networks.inference_batch_norm import InferenceBatchNorm

FEATURES = 2048
MIN_SIZE = 75  # less leaves nothing for the last reduction


class InceptionV3(nn.Module):
    """The network up to its pooled features."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Features of pictures.

        Args:
          x: float32 (n, H, W, 3) in -1..1; the distance is defined for 299 x 299.

        Returns:
          float32 (n, 2048), means over positions.
        Raises:
          ValueError: sides under MIN_SIZE.
        """
        if min(x.shape[1:3]) < MIN_SIZE:
            raise ValueError(f"InceptionV3 needs pictures of {MIN_SIZE} px or more, but they are {x.shape[1:3]}.")
        x = _Conv(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = _Conv(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = _Conv(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = _reduce(x)
        x = _Conv(80, (1, 1), name="Conv2d_3b_1x1")(x)
        x = _Conv(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x)
        x = _reduce(x)
        for name, block in _BLOCKS.items():
            x = _Mixed(block, name=name)(x)
        return jnp.mean(x, axis=(1, 2))


class _Convolution(NamedTuple):
    name: str
    features: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"


class _Block(NamedTuple):
    """Branches side by side, joined along channels: chains of convolutions, of which the last entry may be a pair that
    both read what comes before; then a pooling branch, "average" or "max" with a 1 x 1 convolution of so many features,
    or "reduce", a maximum with stride 2 and no convolution."""

    chains: tuple[tuple[_Convolution | tuple[_Convolution, _Convolution], ...], ...]
    pool: str
    pool_features: int = 0


class _Mixed(nn.Module):
    block: _Block

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        branches = []
        for chain in self.block.chains:
            ends = [x]
            for step in chain:
                convolutions = step if isinstance(step[0], _Convolution) else (step,)
                ends = [_Conv(*rest, name=name)(ends[0]) for name, *rest in convolutions]
            branches += ends
        if self.block.pool == "reduce":
            return jnp.concatenate([*branches, _reduce(x)], axis=-1)
        if self.block.pool == "max":
            pooled = nn.max_pool(x, (3, 3), padding="SAME")
        else:
            pooled = nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
        pooled = _Conv(self.block.pool_features, (1, 1), name="branch_pool")(pooled)
        return jnp.concatenate([*branches, pooled], axis=-1)


class _Conv(nn.Module):
    """Convolution without bias, batch normalisation, ReLU; every kernel's side is odd, so "SAME" is symmetric."""

    features: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(self.features, self.kernel, self.stride, self.padding, use_bias=False, name="conv")(x)
        return nn.relu(InferenceBatchNorm(name="bn")(x))


def _reduce(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), strides=(2, 2))


def _block_a(pool_features: int) -> _Block:
    """InceptionA of torchvision: at 35 x 35 positions."""
    return _Block(
        (
            (_Convolution("branch1x1", 64, (1, 1)),),
            (_Convolution("branch5x5_1", 48, (1, 1)), _Convolution("branch5x5_2", 64, (5, 5))),
            (
                _Convolution("branch3x3dbl_1", 64, (1, 1)),
                _Convolution("branch3x3dbl_2", 96, (3, 3)),
                _Convolution("branch3x3dbl_3", 96, (3, 3)),
            ),
        ),
        "average",
        pool_features,
    )


def _block_c(width: int) -> _Block:
    """InceptionC: at 17 x 17 positions, 7 x 7 kernels as rows and columns."""
    return _Block(
        (
            (_Convolution("branch1x1", 192, (1, 1)),),
            (
                _Convolution("branch7x7_1", width, (1, 1)),
                _Convolution("branch7x7_2", width, (1, 7)),
                _Convolution("branch7x7_3", 192, (7, 1)),
            ),
            (
                _Convolution("branch7x7dbl_1", width, (1, 1)),
                _Convolution("branch7x7dbl_2", width, (7, 1)),
                _Convolution("branch7x7dbl_3", width, (1, 7)),
                _Convolution("branch7x7dbl_4", width, (7, 1)),
                _Convolution("branch7x7dbl_5", 192, (1, 7)),
            ),
        ),
        "average",
        192,
    )


def _block_e(pool: str) -> _Block:
    """InceptionE: at 8 x 8 positions; two chains end in a row and a column side by side."""
    return _Block(
        (
            (_Convolution("branch1x1", 320, (1, 1)),),
            (
                _Convolution("branch3x3_1", 384, (1, 1)),
                (_Convolution("branch3x3_2a", 384, (1, 3)), _Convolution("branch3x3_2b", 384, (3, 1))),
            ),
            (
                _Convolution("branch3x3dbl_1", 448, (1, 1)),
                _Convolution("branch3x3dbl_2", 384, (3, 3)),
                (_Convolution("branch3x3dbl_3a", 384, (1, 3)), _Convolution("branch3x3dbl_3b", 384, (3, 1))),
            ),
        ),
        pool,
        192,
    )


_BLOCKS = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _Block(
        (
            (_Convolution("branch3x3", 384, (3, 3), 2, "VALID"),),
            (
                _Convolution("branch3x3dbl_1", 64, (1, 1)),
                _Convolution("branch3x3dbl_2", 96, (3, 3)),
                _Convolution("branch3x3dbl_3", 96, (3, 3), 2, "VALID"),
            ),
        ),
        "reduce",
    ),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _Block(
        (
            (_Convolution("branch3x3_1", 192, (1, 1)), _Convolution("branch3x3_2", 320, (3, 3), 2, "VALID")),
            (
                _Convolution("branch7x7x3_1", 192, (1, 1)),
                _Convolution("branch7x7x3_2", 192, (1, 7)),
                _Convolution("branch7x7x3_3", 192, (7, 1)),
                _Convolution("branch7x7x3_4", 192, (3, 3), 2, "VALID"),
            ),
        ),
        "reduce",
    ),
    "Mixed_7b": _block_e("average"),
    "Mixed_7c": _block_e("max"),
}
