"""How checkpoints of earlier versions are read; what their versions were like is the experiments' to know."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any


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
    """

    identity: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    layout: Callable[[Mapping[str, Any]], Layout | None] = lambda identity: None


NO_UPGRADE = Upgrade()
