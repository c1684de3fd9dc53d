"""A dual-branch model: pure functions over two parameter trees, one frozen and one trainable.

The **frozen** tree is the main network, whose score is the prior score. The **trainable** tree is

    {"side": {name: params}, "decoder": {hook: {name: params}}}

the side networks, one for each condition, whose contribution is the likelihood score of the conditions, and the
alignment decoders, which are dropped after training. Everything is by name, even where there is only one. The model of
a family (Stable Diffusion, a flow transformer, a toy with a closed form) is one value of `DualBranch`; the loss, the
loop and the samplers know nothing more about it than is said here.
"""

import dataclasses
import functools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Tree = Any  # a pytree of arrays; where batched, every leaf begins with n
Params = Any  # a tree of arrays
Residuals = tuple[jax.Array, ...]
# Layers of a side network that are like those of its main network.
COPIED = "copied"


class SideOutput(NamedTuple):
    """What side networks give.

    Attributes:
      residuals: arrays that the main network adds after its trunk; all zero at initialisation unless asked for.
      features: what alignment decoders may read: features before their zero convolutions, (n, h, w, c) or
        (n, f, h, w, c). `SideNetwork.apply` gives hook -> feature, `DualBranch.side` hook -> name -> feature.
    """

    residuals: Residuals
    features: Mapping[str, Any]


class Gate(NamedTuple):
    """Squares summed over each example, (n,) float32: of the residuals, and of what they are added to."""

    residuals: jax.Array
    joined: jax.Array


def _whole(params: Params) -> Params:
    return params


def _alone(params: Params, main: Params) -> Params:
    del main
    return params


@dataclasses.dataclass(frozen=True, eq=False)
class SideNetwork:
    """One trainable side network and its alignment decoders, as pure functions.

    Attributes:
      apply: (params, trunk, x_t, t, context, condition) -> SideOutput. `trunk` is the main network's, for networks that
        begin with its embeddings; `condition` is what the family's `ConditionEncoder` gives. A feature must depend on
        x_t and t, not on the condition alone, or it cannot carry the likelihood score.
      init: (start, key) -> parameters, float32. `start` is a tree of arrays to start from, for a copy those of the main
        network; parameters that it lacks are fresh. Residuals are exactly zero, unless `start` is a side network that
        was trained before or they were asked to be born larger.
      decode: (decoder, feature, t, shape) -> likelihood-score estimate of `shape`, the prediction's shape.
      init_decoder: (key, hook) -> fresh decoder parameters for the named feature, output exactly zero.
      hooks: names of the features, in the order of the network.
      trunk: parameters -> those that are no zero convolutions; the main loss reaches them through the zero
        convolutions alone. By default all parameters.
      fresh: the layers that it does not take over from the main network, such as zero convolutions and the condition's
        encoder: name of a group -> pattern (`re.match`) of the paths ("conv_in/kernel") of its parameters.
      complete: (parameters, the main network's) -> the `params` of `apply`: its own, and those of the main network that
        it uses as they are and does not train. By default it uses none.
    """

    apply: Callable[..., SideOutput]
    init: Callable[[Params, jax.Array], Params]
    decode: Callable[..., jax.Array]
    init_decoder: Callable[[jax.Array, str], Params]
    hooks: tuple[str, ...]
    trunk: Callable[[Params], Params] = _whole
    fresh: Mapping[str, str] = dataclasses.field(default_factory=dict)
    complete: Callable[[Params, Params], Params] = _alone

    def layer_groups(self, params: Params) -> Tree:
        """Of every parameter the group of fresh layers that it belongs to, or `COPIED`."""

        def group(path: tuple, leaf: Any) -> str:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return next((group for group, pattern in self.fresh.items() if re.match(pattern, name)), COPIED)

        return jax.tree_util.tree_map_with_path(group, params)


@dataclasses.dataclass(frozen=True, eq=False)
class DualBranch:
    """A frozen main network with its trainable side networks, trained or sampled together, as pure functions.

    Shapes: `x_t` and the prediction (n, *space, c), with space (h, w) for images and (f, h, w) for video; `t` (n,)
    float32, the time as the network embeds it; `context` a tree of arrays (n, ...), whatever the family's `Conditioner`
    gives; conditions by name.

    The main network gets the sum of the side networks' residuals. What their decoders say is summed too: if the
    conditions are independent given x_t, p(c_1, c_2 | x_t) = p(c_1 | x_t) p(c_2 | x_t) and the likelihood scores add,

        grad log p(c_1, c_2 | x_t) = grad log p(c_1 | x_t) + grad log p(c_2 | x_t)

    so the decoders together must give what the main network does not explain, each from its own network's feature.
    Where the conditions are dependent, the sum is still fitted to the joint score, but its parts are no longer the
    scores of single conditions.

    Attributes:
      trunk: (frozen, x_t, t, context) -> the part of the forward pass that control cannot reach, any tree whose leaves
        begin with n. It is computed once, for the prediction and for the prior.
      predict: (frozen, trunk, residuals=None) -> prediction; without residuals it is the prior.
      joined: trunk -> arrays (n, ...) of what the main network adds the residuals to, one for each and as large as it
        or larger. A network that adds them one after the other, as transformers do, gives its trunk for all of them.
      sides: name -> side network. The order of the names does not count. Empty: the main network alone.
    """

    trunk: Callable[..., Tree]
    predict: Callable[..., jax.Array]
    joined: Callable[[Tree], Residuals]
    sides: Mapping[str, SideNetwork]

    def __post_init__(self) -> None:
        # Sorted, so that sums and random keys are the same in whatever order a config names the conditions.
        object.__setattr__(self, "sides", {name: self.sides[name] for name in sorted(self.sides)})

    @property
    def hooks(self) -> tuple[str, ...]:
        """Names of the features that all side networks have, in the order of the network."""
        hooks = [side.hooks for side in self.sides.values()]
        return tuple(hook for hook in hooks[0] if all(hook in others for others in hooks)) if hooks else ()

    @property
    def fresh_layers(self) -> tuple[str, ...]:
        """Names of the groups of layers that side networks do not take over from the main network."""
        return tuple(dict.fromkeys(group for side in self.sides.values() for group in side.fresh))

    def layer_groups(self, params: Mapping[str, Params]) -> dict[str, Tree]:
        """Of every side parameter its group of layers, see `SideNetwork.layer_groups`."""
        return {name: self.sides[name].layer_groups(part) for name, part in params.items()}

    def gate(self, trunk: Tree, residuals: Residuals) -> Gate:
        """How large the residuals are beside what they are added to."""

        def power(x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.square(x.astype(jnp.float32)), axis=tuple(range(1, x.ndim)))

        joined = self.joined(trunk)
        added = (jnp.broadcast_to(one, to.shape) for one, to in zip(residuals, joined, strict=True))
        return Gate(sum(map(power, added)), sum(map(power, joined)))

    def complete(self, params: Mapping[str, Params], frozen: Params) -> dict[str, Params]:
        """Side parameters as `side` takes them: with what side networks use of the main network, which stays frozen."""
        _check_names("Side parameters", params, self.sides, all_of_them=False)
        return {name: self.sides[name].complete(part, frozen) for name, part in params.items()}

    def side(
        self,
        params: Mapping[str, Params],
        trunk: Tree,
        x_t: jax.Array,
        t: jax.Array,
        context: Tree,
        conditions: Mapping[str, jax.Array],
    ) -> SideOutput:
        """Residuals, summed, and features of the side networks whose parameters are given, with their conditions.

        Parameters are those that `complete` gives.

        Raises:
          ValueError: a name that no side network has, or conditions of other names than the parameters.
        """
        _check_names("Side parameters", params, self.sides, all_of_them=False)
        _check_names("Conditions", conditions, params)
        outputs = {
            name: self.sides[name].apply(params[name], trunk, x_t, t, context, conditions[name])
            for name in sorted(params)
        }
        residuals = tuple(
            functools.reduce(operator.add, parts)
            for parts in zip(*(output.residuals for output in outputs.values()), strict=True)
        )
        return SideOutput(
            residuals,
            {hook: {name: output.features[hook] for name, output in outputs.items()} for hook in self.hooks},
        )

    def decode(
        self, decoder: Mapping[str, Params], feature: Mapping[str, jax.Array], t: jax.Array, shape: tuple[int, ...]
    ) -> jax.Array:
        """The likelihood-score estimate of `shape`, float32, from the features of one hook by name."""
        parts = (side.decode(decoder[name], feature[name], t, shape) for name, side in self.sides.items())
        # In float32: half precision would round each part and their sum again.
        return functools.reduce(operator.add, (part.astype(jnp.float32) for part in parts))

    def init_side(self, start: Mapping[str, Params], key: jax.Array) -> dict[str, Params]:
        """Parameters of every side network; one that `start` does not name is fresh."""
        _check_names("What side networks start from", start, self.sides, all_of_them=False)
        keys = _keys(key, tuple(self.sides))
        return {name: side.init(start.get(name, {}), keys[name]) for name, side in self.sides.items()}

    def init_decoder(self, key: jax.Array, hook: str) -> dict[str, Params]:
        """Parameters of every side network's decoder of one hook."""
        keys = _keys(key, tuple(self.sides))
        return {name: side.init_decoder(keys[name], hook) for name, side in self.sides.items()}

    def init_trainable(self, start: Mapping[str, Params], key: jax.Array, hooks: Sequence[str]) -> dict[str, Params]:
        """Trainable tree at step 0: side networks and, where there are hooks, their decoders.

        The side networks do not depend on the hooks. Raises ValueError for a hook that does not exist.
        """
        side_key, decoder_key = jax.random.split(key)
        trainable = {"side": self.init_side(start, side_key)}
        if hooks:
            keys = _keys(decoder_key, self.check_hooks(hooks))
            trainable["decoder"] = {hook: self.init_decoder(keys[hook], hook) for hook in hooks}
        return trainable

    def side_trunk(self, params: Mapping[str, Params]) -> dict[str, Params]:
        """A tree like the side parameters without the zero convolutions."""
        return {name: self.sides[name].trunk(part) for name, part in params.items()}

    def check_hooks(self, hooks: Sequence[str]) -> tuple[str, ...]:
        """The hooks as a tuple; raises ValueError with the names that exist, or for a name that is there twice."""
        for hook in hooks:
            if hook not in self.hooks:
                raise ValueError(f"Unknown hook '{hook}': these side networks have {', '.join(self.hooks) or 'none'}.")
        if not hooks or len(set(hooks)) < len(hooks):
            raise ValueError(f"Hooks {', '.join(hooks) or '()'} must be different names, at least one.")
        return tuple(hooks)


def parse_hooks(hooks: str | Sequence[str]) -> tuple[str, ...]:
    """Hooks as configs write them, "mid", "down_3,mid" or ("down_3", "mid"), as a tuple of names.

    Raises:
      ValueError: an empty name, or no name.
    """
    names = tuple(name.strip() for name in (hooks.split(",") if isinstance(hooks, str) else hooks))
    if not names or not all(names):
        raise ValueError(f"Hook {hooks!r} is no name: write the feature's, several with commas between (down_3,mid).")
    return names


def _keys(key: jax.Array, names: tuple[str, ...]) -> dict[str, jax.Array]:
    """A key for each name; of one name the key itself, so that seeds give what they gave to the first runs."""
    return {names[0]: key} if len(names) == 1 else dict(zip(names, jax.random.split(key, len(names)), strict=True))


def _check_names(what: str, values: Any, names: Mapping[str, Any], *, all_of_them: bool = True) -> None:
    fits = isinstance(values, Mapping) and set(values) <= set(names) and (len(values) == len(names) or not all_of_them)
    if not fits:
        found = (", ".join(sorted(values)) or "none") if isinstance(values, Mapping) else type(values).__name__
        raise ValueError(f"{what} must have the names of the side networks, {', '.join(names)}, not {found}.")
