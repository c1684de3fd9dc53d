"""What is measured of a task, as one value; each stands in the file of its task, `table.MEASURES` has them all."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

# Of what is seen in n samples and what was wanted: a number for all, or float64 (n,), whose mean is taken.
Measure = Callable[[Any, Any], float | np.ndarray]
# What is seen in each of the pictures uint8 (n, H, W, 3), see `local_networks.LocalNetwork`.
Network = Callable[[np.ndarray], list[np.ndarray]]


def as_given(value: Any) -> Any:
    """What needs no change."""
    return value


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a `DenseEstimator` learns to read the condition off pictures of (H, W), and what its output means.

    Attributes:
      channels: of the output.
      read: float32 logits (n, H, W, channels) -> what is seen, as `TaskMeasures.measures` take it.
      target: truth of n pictures -> an array (n, ., .) that `loss` compares with, zeros where nothing is in sight.
      loss: (logits, target) -> scalar.
      mirror: (target, W) -> the target of the pictures with left and right swapped.
      empty: share of the pictures that are fitted to as empty rooms, so that nothing is seen where nothing is.
    """

    channels: int
    read: Callable[[jax.Array], jax.Array]
    target: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    mirror: Callable[[jax.Array, int], jax.Array]
    empty: float = 0.0


@dataclasses.dataclass(frozen=True)
class NetworkMeasures:
    """How photographs are measured, with a network from a file of the user's own.

    What the network sees in a sample is held against the example's own truth or, where the data have none, against what
    the same network sees in the real picture; or, if the user wants that, against the condition picture.

    Attributes:
      measures: name -> function of what the network sees in the samples and of the reference.
      truth: the field of the examples' truth that is a reference.
      of_truth: from that field to what `measures` take.
      gather: what the network sees in each picture -> what it sees in all.
      of_seen: from what the network sees in the real pictures to the part of it that is believed.
      of_condition: from the examples' condition pictures, uint8 (n, H, W, 3), to what `measures` take; None where a
        condition picture is no such thing.
      protocol: as of `TaskMeasures`.
    """

    measures: Mapping[str, Measure]
    truth: str
    of_truth: Callable[[Any], Any] = np.asarray
    gather: Callable[[list[np.ndarray]], Any] = np.stack
    of_seen: Callable[[Any], Any] = as_given
    of_condition: Callable[[np.ndarray], Any] | None = None
    protocol: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def observe(self, images: np.ndarray, network: Network) -> Any:
        """What the network sees in uint8 (n, H, W, 3)."""
        return self.gather(network(images))

    def reference(self, references: np.ndarray, network: Network, truth: Mapping[str, Any]) -> Any:
        """What samples are held against; the real pictures, uint8 (n, H, W, 3), are not looked at where there is truth.

        For several sets of samples of the same examples it need be computed only once.
        """
        if self.truth in truth:
            return self.of_truth(truth[self.truth])
        return self.of_seen(self.observe(references, network))


@dataclasses.dataclass(frozen=True)
class TaskMeasures:
    """How well samples follow the condition of one task.

    Attributes:
      measures: name -> function of what is seen in the samples and of what was wanted, in the order of results. The
        first is the one that speed-ups are computed for.
      against: what samples are held against: "references", the real pictures; "conditions"; or else a field of the
        examples' truth.
      wanted: from that to what `measures` take.
      falling: names of the measures that fall as fidelity grows.
      any_pictures: whether the measures hold for any pictures. The others' thresholds and networks are those of the
        embedded data sets.
      reading: how a small network sees in a sample what was asked for; None where the sample itself is compared.
      network: how a network of the user's own measures the task; None where none does. Its role in the manifest is the
        task's name.
      protocol: measure -> how it is computed, in words that stand beside its value in results.
    """

    measures: Mapping[str, Measure]
    against: str
    wanted: Callable[[Any], Any] = as_given
    falling: frozenset[str] = frozenset()
    any_pictures: bool = False
    reading: Reading | None = None
    network: NetworkMeasures | None = None
    protocol: Mapping[str, str] = dataclasses.field(default_factory=dict)


def measure(measures: Mapping[str, Measure], seen: Any, wanted: Any) -> dict[str, float]:
    """The values of measures over all pictures, by name."""
    return {name: float(np.mean(function(seen, wanted))) for name, function in measures.items()}
