"""Batch normalisation of a trained network: its stored statistics, never those of a batch."""

import flax.linen as nn
import jax

EPS = 1e-3  # of TensorFlow's image networks, which the networks here were converted from; PyTorch's own is 1e-5


class InferenceBatchNorm(nn.Module):
    """`torch.nn.BatchNorm2d(eps=1e-3).eval()` of NHWC arrays.

    Parameters, each (c,): "scale", "bias", "running_mean", "running_var".
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: float32 (n, h, w, c). Returns the same shape."""
        ones, zeros, shape = nn.initializers.ones_init(), nn.initializers.zeros_init(), (x.shape[-1],)
        factor = self.param("scale", ones, shape) * jax.lax.rsqrt(self.param("running_var", ones, shape) + EPS)
        offset = self.param("bias", zeros, shape) - self.param("running_mean", zeros, shape) * factor
        return x * factor + offset
