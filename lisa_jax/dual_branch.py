"""A dual-branch model: pure functions over two parameter trees, one frozen and one trainable.

The **frozen** tree is the main network, whose score is the prior score. The **trainable** tree is `{"side": ...,
"decoder": ...}`: the side network, whose contribution is the likelihood score of the condition, and the alignment
decoder that is dropped after training. A family (Stable Diffusion, a flow transformer, a toy with a closed form) is
one value of `DualBranch`; nothing in the loss, the loop or the samplers knows more about it than is said here.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

Params = Any  # a tree of arrays
# The side feature that a decoder reads; a tuple: several features, each with a decoder of its own.
Hook = str | tuple[str, ...]
Residuals = tuple[jax.Array, ...]


class SideOutput(NamedTuple):
    """What the side network gives.

    Attributes:
      residuals: arrays that the main network adds after its trunk; all zero at initialisation.
      features: name -> side feature before its zero convolution, (n, h, w, c): what the alignment decoder may read.
    """

    residuals: Residuals
    features: Mapping[str, jax.Array]


def parse_hook(hook: str | Sequence[str]) -> Hook:
    """A hook as configs write it: "mid", "down_3,mid" or ("down_3", "mid"); one name is a name, never a tuple.

    Raises:
      ValueError: an empty name, or no name.
    """
    names = tuple(name.strip() for name in (hook.split(",") if isinstance(hook, str) else hook))
    if not names or not all(names):
        raise ValueError(f"Hook {hook!r} is no name: write the feature's, several with commas between (down_3,mid).")
    return names if len(names) > 1 else names[0]


def hook_names(hook: Hook) -> tuple[str, ...]:
    """The names in a hook."""
    return (hook,) if isinstance(hook, str) else hook


def _whole(side: Params) -> Params:
    return side


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
      side_trunk: side parameters -> the tree without the zero convolutions, through which alone the main loss reaches
        the rest. Where the model does not say, the whole tree.
    """

    trunk: Callable[..., Any]
    predict: Callable[..., jax.Array]
    side: Callable[..., SideOutput]
    init_side: Callable[[Params, jax.Array], Params]
    decode: Callable[..., jax.Array]
    init_decoder: Callable[[jax.Array, str], Params]
    hooks: tuple[str, ...]
    parts: Mapping[str, "DualBranch"] = dataclasses.field(default_factory=dict, compare=False)
    side_trunk: Callable[[Params], Params] = _whole

    def init_trainable(self, start: Params, key: jax.Array, hook: Hook | None) -> dict[str, Params]:
        """Trainable tree at step 0: side network, and the decoder of `hook` unless it is None (plain training).

        `decoder` holds the parameters of one decoder where the hook is a name, a dict of them by name where it is a
        tuple. The side network does not depend on `hook`. Raises ValueError for a hook that does not exist.
        """
        if hook is not None:
            self.check_hook(hook)
        side_key, decoder_key = jax.random.split(key)
        trainable = {"side": self.init_side(start, side_key)}
        if isinstance(hook, str):
            trainable["decoder"] = self.init_decoder(decoder_key, hook)
        elif hook is not None:
            keys = jax.random.split(decoder_key, len(hook))
            trainable["decoder"] = {name: self.init_decoder(k, name) for name, k in zip(hook, keys, strict=True)}
        return trainable

    def decode_each(
        self, decoder: Params, features: Mapping[str, Any], hook: Hook, t: jax.Array, shape: tuple[int, ...]
    ) -> dict[str, jax.Array]:
        """What the decoder of every hooked feature says: name -> estimate of `shape`.

        Args:
          decoder: parameters as `init_trainable` makes them for `hook`.
          features: name -> side feature.
          hook: the features to decode.
          t: (n,) network time.
          shape: the prediction's.
        """
        by_name = {hook: decoder} if isinstance(hook, str) else decoder
        return {name: self.decode(by_name[name], features[name], t, shape) for name in hook_names(hook)}

    def check_hook(self, hook: Hook | None) -> Hook:
        """Return `hook`; raises ValueError with the names that exist, or for a name that is there twice."""
        names = (hook,) if hook is None else hook_names(hook)
        for name in names:
            if name not in self.hooks:
                raise ValueError(f"Unknown hook '{name}': this side network has {', '.join(self.hooks)}.")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"Hooks {', '.join(names) or '()'} must be different names, at least one.")
        return hook
