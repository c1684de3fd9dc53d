"""From a config and a family to the splits of its data set, whose batches the model reads."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.embedded.load import load_embedded
from lisa_jax.data.pipeline import Batches, Source, ordered_batches
from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.dual_branch import Params
from lisa_jax.experiments.condition_fields import condition_names
from lisa_jax.families.family import Family


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of a data set, with what turns its examples into arrays that the model reads.

    Attributes:
      source: examples by index.
      family: encodes the captions and decodes the latents of examples that hold no image.
      condition: example -> its condition or, by name, its conditions; None for a main network alone.
      context: float32 (len(source), length, width), where contexts are computed once for all; else None.
      null_context: (1, length, width), context of the empty caption.
      encodes_text: batches carry token `ids`, and the step encodes them.
    """

    source: Source
    family: Family
    condition: Callable[[Mapping[str, Any]], Any] | None
    null_context: np.ndarray
    context: np.ndarray | None = None
    encodes_text: bool = False

    def with_text(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Pipeline transform: the example with its `context`, or with the `ids` of its caption."""
        if self.context is not None:
            return {**example, "context": self.context[example["index"]]}
        if self.encodes_text:
            return {**example, "ids": self.family.encode_text.tokenize([example["caption"]])[0]}
        return dict(example)

    def ordered_batches(self, batch_size: int) -> Iterator[dict[str, Any]]:
        """Every example once, in order."""
        return ordered_batches(self.source, self.condition, batch_size, transforms=(self.with_text,))

    def arrays(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What the step reads of a batch."""
        names = ("moments", "image", "context", "ids", "condition")
        found = {name: batch[name] for name in names if name in batch}
        if "moments" in found:
            found.pop("image", None)
        return found

    def frozen(self) -> dict[str, Params]:
        """What the step reads and does not train: `main`, `latents`, and `text` where the step encodes captions."""
        frozen = {"main": self.family.frozen, "latents": self.family.latents.params}
        return frozen | ({"text": self.family.encode_text.params} if self.encodes_text else {})

    def contexts(self, batch: Mapping[str, Any]) -> np.ndarray:
        """Contexts of a batch's captions, (n, length, width)."""
        return batch["context"] if "context" in batch else self.family.encode_text(batch["caption"])

    def references(self, batch: Mapping[str, Any]) -> np.ndarray:
        """The real images, uint8 (n, H, W, 3); what the latents' mean decodes to, where only latents are kept."""
        if "image" in batch:
            return batch["image"]
        # The mean of the posterior: without a log-variance to speak of, nothing is drawn.
        mean, _ = np.split(np.asarray(batch["moments"], np.float32), 2, axis=-1)
        certain = np.concatenate([mean, np.full_like(mean, -np.inf)], axis=-1)
        return np.asarray(self._decode(self.family.latents.params, certain))

    def truth(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """`truth_of` a batch's examples."""
        return truth_of([self.source[int(index)] for index in batch["index"]])

    @cached_property
    def _decode(self) -> Callable[[Params, np.ndarray], jax.Array]:
        """(params, moments) -> images; compiled once for all batches of a size."""
        latents = self.family.latents
        return jax.jit(lambda params, moments: latents.decode(params, latents.sample(moments, jax.random.key(0))))


def truth_of(examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What a data set knows of its pictures, beside what is seen, for measures of fidelity to compare with.

    `keypoints` float32 (n, 18, 3) and `depth` float32 (n, H, W), where the examples have them.
    """
    names = [name for name in ("keypoints", "depth") if name in examples[0]]
    return {name: np.stack([example[name] for example in examples]) for name in names}


def condition_columns(condition: Any) -> dict[str, np.ndarray]:
    """Columns of a grid of samples: one a condition."""
    return dict(condition) if isinstance(condition, Mapping) else {"condition": condition}


def load_split(config: ConfigDict, family: Family, split: str) -> Split:
    """The examples of a split of the config's data set; raises ValueError for an unknown data set."""
    if config.data.name == "prepared":
        return _prepared_split(config, family, split)
    source = load_embedded(config.data.name, config.data.image_size, split)
    captions = [source[index]["caption"] for index in range(len(source))]
    context = family.encode_text(captions)
    return Split(source, family, _computed_condition(config), family.encode_text([""]), context)


def _computed_condition(config: ConfigDict) -> Callable[[Mapping[str, Any]], Any] | None:
    if config.data.get("condition") is None:
        return None
    names = condition_names(config)
    if names is None:
        return get_condition(config.data.condition)
    functions = {name: get_condition(name) for name in names}
    return lambda example: {name: function(example) for name, function in functions.items()}


def _prepared_split(config: ConfigDict, family: Family, split: str) -> Split:
    """A split of what `lisa_jax prepare` wrote; raises ValueError for another base or a condition it does not hold."""
    source = load_prepared(config.data.dir, split)
    source.check_base(family.fingerprint)
    names = condition_names(config)
    wanted = (config.data.condition,) if names is None else names
    for name in wanted:
        if name not in source.conditions:
            raise ValueError(
                f"{config.data.dir} holds no condition '{name}': there is {', '.join(source.conditions)}; set "
                "config.data.condition."
            )

    def condition(example: Mapping[str, Any]) -> Any:
        found = example["condition"]
        by_name = found if isinstance(found, Mapping) else {source.conditions[0]: found}
        return by_name[config.data.condition] if names is None else {name: by_name[name] for name in names}

    null_context = source.null_context
    if null_context is None:
        null_context = family.encode_text([""])
    return Split(source, family, condition, null_context, encodes_text="context" not in source.cached)


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """The arrays of a pipeline's batches that training reads."""

    batches: Batches
    split: Split

    def iterate(self, start_step: int) -> Iterator[Mapping[str, Any]]:
        """Yield this process's rows from `start_step` on."""
        return map(self.split.arrays, self.batches.iterate(start_step))


def training_batches(config: ConfigDict, split: Split) -> TrainingBatches:
    """The training stream of this process."""
    batches = Batches(
        split.source,
        split.condition,
        config.batch_size,
        config.seed,
        flip=config.data.flip,
        transforms=(split.with_text,),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    return TrainingBatches(batches, split)
