"""From a config to the parts of a run; what the commands share."""

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging as absl_logging
from ml_collections import ConfigDict

from lisa_jax.data.openmoji import load_openmoji
from lisa_jax.data.pipeline import Batches, Source, ordered_batches
from lisa_jax.families.family import Family
from lisa_jax.families.stable_diffusion import load_stable_diffusion

CONFIG_FILE = "config.json"


def start_up() -> None:
    """Settings that every command wants: readable logs, and compiled programs kept between runs."""
    # Orbax, TFDS and JAX tell their whole story through absl and the root logger.
    absl_logging.set_verbosity(absl_logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("lisa_jax")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(Path("~/.cache/lisa_jax/xla").expanduser()))


def load_family(config: ConfigDict) -> Family:
    """The base that a config names, with its side network's settings."""
    return load_stable_diffusion(
        config.base,
        condition_channels=tuple(config.condition_channels),
        frozen_dtype=config.frozen_dtype,
        compute_dtype=config.compute_dtype,
    )


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of a data set, and the context of each of its captions, computed once.

    Attributes:
      source: examples by index.
      context: float32 (len(source), length, width).
    """

    source: Source
    context: np.ndarray

    def with_context(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Pipeline transform: the example with its `context`."""
        return {**example, "context": self.context[example["index"]]}

    def ordered_batches(self, condition: str, batch_size: int) -> Iterator[dict[str, Any]]:
        """Every example once, in order, with `context`."""
        return ordered_batches(self.source, condition, batch_size, transforms=(self.with_context,))


def load_split(config: ConfigDict, family: Family, split: str) -> Split:
    """The examples of a split of the config's data set, with contexts; raises ValueError for an unknown data set."""
    if config.data.name != "openmoji":
        raise ValueError(f"Unknown data.name '{config.data.name}': there is openmoji.")
    source = load_openmoji(config.data.image_size, split)
    return Split(source, family.encode_text([source[index]["caption"] for index in range(len(source))]))


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """The arrays of a pipeline's batches that training reads."""

    batches: Batches
    names: tuple[str, ...]

    def iterate(self, start_step: int) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield this process's rows from `start_step` on."""
        for batch in self.batches.iterate(start_step):
            yield {name: batch[name] for name in self.names}


def training_batches(config: ConfigDict, split: Split, condition: str | None) -> TrainingBatches:
    """The training stream of this process; with condition None, batches have none."""
    batches = Batches(
        split.source,
        condition,
        config.batch_size,
        config.seed,
        flip=config.data.flip,
        transforms=(split.with_context,),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    return TrainingBatches(batches, ("image", "context", *(("condition",) if condition else ())))


def write_config(workdir: str | Path, config: ConfigDict) -> None:
    """Leave the config in the work directory, for `sample`, `evaluate` and `export`."""
    if jax.process_index() == 0:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        (Path(workdir) / CONFIG_FILE).write_text(config.to_json_best_effort(indent=2) + "\n")


def read_config(workdir: str | Path) -> ConfigDict:
    """The config of a work directory; raises FileNotFoundError where no run was started."""
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the --workdir of a training run.")
    return ConfigDict(json.loads(path.read_text()))
