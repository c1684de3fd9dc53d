"""How checkpoints of earlier versions are read; what their versions were like is the experiments' to know."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Another order of a TrainState's tree than today's: functions from the one to the other."""

    to_saved: Callable[[Any], Any]
    to_today: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Upgrade:
    """How checkpoints of earlier versions are read.

    Attributes:
      identity: an identity that was saved -> the same as it would be saved today.
      layout: an identity that was saved -> how the state lies in the checkpoint; None: as today.
      keeps_shape: whether a leaf, by the names on the way to it in the checkpoint, goes on in the shape that it was
        saved in where today's is another.
    """

    identity: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    layout: Callable[[Mapping[str, Any]], Layout | None] = lambda identity: None
    keeps_shape: Callable[[Sequence[str]], bool] = lambda names: False


NO_UPGRADE = Upgrade()


def in_saved_shapes(like: Any, saved: Any, keeps_shape: Callable[[Sequence[str]], bool]) -> Any:
    """What is to be read of a checkpoint, in the shapes that it has.

    Args:
      like: shapes, dtypes and shardings of a state that lies as in the checkpoint.
      saved: the checkpoint's own tree, with the shape of every leaf.
      keeps_shape: of `Upgrade`; the other leaves are left as they are.
    """
    shapes = {_name(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(saved)}
    kept = []

    def shaped(path: tuple, leaf: Any) -> Any:
        name = _name(path)
        if shapes.get(name, leaf.shape) == leaf.shape or not keeps_shape(name.split("/")):
            return leaf
        kept.append(f"{name} {shapes[name]}, not {leaf.shape}")
        return jax.ShapeDtypeStruct(shapes[name], leaf.dtype, sharding=leaf.sharding)

    like = jax.tree_util.tree_map_with_path(shaped, like)
    if kept:
        _LOG.warning(
            "An earlier version gave %d arrays of this run another shape (%s): it goes on with them as they are.",
            len(kept),
            kept[0],
        )
    return like


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
