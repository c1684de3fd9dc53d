"""A dual-branch model: pure functions over two parameter trees, one frozen and one trainable.

The **frozen** tree is the main network, whose score is the prior score. The **trainable** tree is `{"side": ...,
"decoder": ...}`: the side network, whose contribution is the likelihood score of the condition, and the alignment
decoder that is dropped after training. A family (Stable Diffusion, a flow transformer, a toy with a closed form) is
one value of `DualBranch`; nothing in the loss, the loop or the samplers knows more about it than is said here.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Params = Any  # a tree of arrays
Residuals = tuple[jax.Array, ...]


class SideOutput(NamedTuple):
    """What the side network gives.

    Attributes:
      residuals: arrays that the main network adds after its trunk; all zero at initialisation.
      features: name -> side feature before its zero convolution, (n, h, w, c): what the alignment decoder may read.
    """

    residuals: Residuals
    features: Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class DualBranch:
    """A frozen main network and its trainable side network, or several, as pure functions.

    Shapes: `x_t` and the prediction (n, h, w, c); `t` (n,) float32, the time as the network embeds it; `context`
    (n, length, width); `condition` (n, H, W, 3) in [0, 1].

    Attributes:
      trunk: (frozen, x_t, t, context) -> what control cannot reach, any tree. Computed once for both passes.
      predict: (frozen, trunk, residuals=None) -> prediction; without residuals it is the prior.
      side: (side, x_t, t, context, condition) -> SideOutput. The feature must depend on x_t and t, not on the condition
        alone, or it cannot carry the likelihood score.
      init_side: (start, key) -> side parameters, float32. `start` is a tree of arrays that they start from, the main
        network's for a copy; what it lacks is fresh. Residuals are exactly zero, unless `start` is a side network.
      decode: (decoder, feature, t, shape) -> likelihood-score estimate of `shape`, the prediction's shape.
      init_decoder: (key, hook) -> fresh decoder parameters for the named feature, output exactly zero.
      hooks: names of the features that `side` returns, in the order of the network.
      parts: in a composition (`families.composed`), name -> the model with that side network alone; else empty.
    """

    trunk: Callable[..., Any]
    predict: Callable[..., jax.Array]
    side: Callable[..., SideOutput]
    init_side: Callable[[Params, jax.Array], Params]
    decode: Callable[..., jax.Array]
    init_decoder: Callable[[jax.Array, str], Params]
    hooks: tuple[str, ...]
    parts: Mapping[str, "DualBranch"] = dataclasses.field(default_factory=dict, compare=False)

    def init_trainable(self, start: Params, key: jax.Array, hook: str | None) -> dict[str, Params]:
        """Trainable tree at step 0: side network, and the decoder of `hook` unless it is None (plain training).

        The side network does not depend on `hook`. Raises ValueError for a hook that does not exist.
        """
        if hook is not None:
            self.check_hook(hook)
        side_key, decoder_key = jax.random.split(key)
        trainable = {"side": self.init_side(start, side_key)}
        if hook is not None:
            trainable["decoder"] = self.init_decoder(decoder_key, hook)
        return trainable

    def check_hook(self, hook: str) -> str:
        """Return `hook`, or raise ValueError with the names that exist."""
        if hook not in self.hooks:
            raise ValueError(f"Unknown hook '{hook}': this side network has {', '.join(self.hooks)}.")
        return hook
