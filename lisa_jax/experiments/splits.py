"""From a config and a family to the splits of its data set, whose batches the model reads."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from lisa_jax.data.conditions.of_example import condition_of
from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.embedded.load import load_embedded
from lisa_jax.data.pipeline import Batches, Source, ordered_batches
from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.evaluation.evaluation_set import truth_of
from lisa_jax.experiments.base import example_size
from lisa_jax.experiments.conditions import condition_specs, conditioning_channels
from lisa_jax.families.family import Family
from lisa_jax.media.medium import Medium
from lisa_jax.parallel.compiling import Announced

# Inputs that show what was in front of the camera: mirrored together, or not at all.
PICTURES = ("image", "condition")
# Of an example, what a conditioner may see.
_SEEN = ("image", "first_frame")


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of a data set, with what turns its examples into inputs of the model.

    Attributes:
      source: examples by index.
      family: encodes the captions and decodes the latents of examples that hold no image.
      make_inputs: an example with its `index` -> its inputs, see `experiments.inputs`.
      empty: context of the empty caption, (1, ...).
      reads_captions: inputs hold what the conditioner reads, and the step encodes it.
      make_mirrored: as `make_inputs`, with left and right exchanged.
    """

    source: Source
    family: Family
    make_inputs: Callable[[Mapping[str, Any]], dict[str, Tree]]
    empty: Tree
    reads_captions: bool = False
    make_mirrored: Callable[[Mapping[str, Any]], dict[str, Tree]] | None = None

    @property
    def fingerprint(self) -> str:
        """What tells the data set from another, wherever it lies."""
        return self.source.fingerprint

    def first(self, count: int) -> "Split":
        """The first `count` examples."""
        return dataclasses.replace(self, source=_First(self.source, min(count, len(self.source))))

    def ordered_batches(self, batch_size: int) -> Iterator[dict[str, Any]]:
        """Every example once, in order."""
        return ordered_batches(self.source, self.make_inputs, batch_size)

    def frozen(self) -> dict[str, Params]:
        """What the step reads and does not train: `main`, `latents`, and `conditioner` where it encodes captions."""
        frozen = {"main": self.family.frozen, "latents": self.family.latents.params}
        return frozen | ({"conditioner": self.family.conditioner.params} if self.reads_captions else {})

    def contexts(self, batch: Mapping[str, Any]) -> Tree:
        """Contexts that pictures like a batch's examples are asked for with, a tree of arrays (n, ...)."""
        inputs, conditioner = batch["inputs"], self.family.conditioner
        if "context" in inputs:
            found = inputs["context"]
        else:
            found = conditioner.contexts([_with_first_frame(example) for example in self.examples(batch)])
        return found if conditioner.asked is None else conditioner.asked(found)

    def conditions(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Conditions of a batch's examples by name, uint8 (n, *space, c); decoded where only latents are kept."""
        inputs = batch["inputs"]
        decoded = {name: self._decoded(moments) for name, moments in inputs.get("condition_moments", {}).items()}
        return {**inputs.get("condition", {}), **decoded}

    def references(self, batch: Mapping[str, Any]) -> np.ndarray:
        """The real examples, uint8 (n, *space, 3); what the latents' mean decodes to, where only latents are kept."""
        return self._decoded(batch["inputs"]["moments"]) if self.is_decoded(batch) else batch["inputs"]["image"]

    def is_decoded(self, batch: Mapping[str, Any]) -> bool:
        """Whether `references` decodes latents, for no pictures are kept."""
        return "image" not in batch["inputs"]

    def examples(self, batch: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """A batch's examples as the source has them."""
        return [self.source[int(index)] for index in batch["index"]]

    def truth(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """`truth_of` a batch's examples."""
        return truth_of(self.examples(batch))

    def _decoded(self, moments: np.ndarray) -> np.ndarray:
        return np.asarray(self._decode(self.family.latents.params, np.asarray(moments, np.float32)))

    @cached_property
    def _decode(self) -> Callable[[Params, np.ndarray], jax.Array]:
        """(params, moments) -> pictures; compiled once for all batches of a size."""
        latents = self.family.latents

        @partial(Announced, what="the decoder of references", position=1)
        def decode(params: Params, moments: jax.Array) -> jax.Array:
            return latents.decode(params, latents.mean(moments))

        return decode


@dataclasses.dataclass(frozen=True)
class _First:
    """The first `count` examples of a source."""

    source: Source
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.source[index]

    @property
    def size_index(self) -> np.ndarray | None:
        """See `Source`."""
        whole = getattr(self.source, "size_index", None)
        return None if whole is None else whole[: self.count]


def load_split(config: ConfigDict, family: Family, split: str, trusted: Collection[str] = ()) -> Split:
    """The examples of a split of the config's data set.

    Args:
      config: of training.
      family: of its base.
      split: "train" or "test".
      trusted: conditions "module:function" that may be imported, see `get_condition`; a config that the user gives, and
        not a work directory, trusts its own.

    Raises:
      ValueError: an unknown data set, or conditions that it does not have or that are not trusted.
    """
    if config.data.name == "prepared":
        return _prepared_split(config, family, split)
    return _embedded_split(config, family, split, trusted)


def _embedded_split(config: ConfigDict, family: Family, split: str, trusted: Collection[str]) -> Split:
    """A split of a data set that comes with the package; its contexts are computed once for all.

    Those of mirrored pictures too, where contexts show them and training mirrors.
    """
    functions = {name: get_condition(spec, trusted) for name, spec in condition_specs(config).items()}
    channels = conditioning_channels(config)
    source = load_embedded(config.data.name, config.data.image_size, split)
    medium, conditioner = family.medium, family.conditioner
    contexts = conditioner.contexts([source[index] for index in range(len(source))])
    mirrored_contexts = contexts
    if conditioner.sees_pictures and config.data.flip and split == "train":
        mirrored_contexts = conditioner.contexts([_mirrored(source[i], medium, _SEEN) for i in range(len(source))])

    def make_inputs(example: Mapping[str, Any]) -> dict[str, Tree]:
        context = _row(contexts, example["index"])
        where = f"{config.data.name} {split} example {example['index']}"
        condition = {
            name: condition_of(function, example, channels[name], name=name, where=where)
            for name, function in functions.items()
        }
        return {"image": example["image"], "context": context, **({"condition": condition} if condition else {})}

    def make_mirrored(example: Mapping[str, Any]) -> dict[str, Tree]:
        # Made first: keypoints that conditions are drawn from are of the picture as it is.
        return _mirrored(make_inputs(example), medium) | {"context": _row(mirrored_contexts, example["index"])}

    return Split(source, family, make_inputs, conditioner.empty, make_mirrored=make_mirrored)


def _row(rows: Tree, index: int) -> Tree:
    return jax.tree.map(lambda leaf: leaf[index], rows)


def _mirrored(inputs: Mapping[str, Tree], medium: Medium, names: Sequence[str] = PICTURES) -> dict[str, Tree]:
    return {**inputs, **{name: jax.tree.map(medium.mirror, inputs[name]) for name in names if name in inputs}}


def _prepared_split(config: ConfigDict, family: Family, split: str) -> Split:
    """A split of what `lisa_jax prepare` wrote.

    Raises:
      ValueError: another base, a condition that it does not hold, or one of other channels than the config's.
    """
    source = load_prepared(config.data.dir, split)
    source.check_base(family.fingerprint)
    names = tuple(condition_specs(config))
    for name, channels in conditioning_channels(config).items():
        if name not in source.channels:
            raise ValueError(
                f"{config.data.dir} holds no condition '{name}': there is {', '.join(source.channels)}; set "
                "config.data.condition."
            )
        if source.channels[name] != channels:
            raise ValueError(
                f"{config.data.dir} holds the condition '{name}' in {source.channels[name]} channels, but the side "
                f"network was made for {channels}: prepare the data as those that it is trained with."
            )
    reads_captions = source.empty_context is None

    def make_inputs(example: Mapping[str, Any]) -> dict[str, Tree]:
        inputs = dict(example["inputs"])
        for kind in ("condition", "condition_moments"):
            if kind in inputs:
                inputs[kind] = {name: inputs[kind][name] for name in names}
        if reads_captions:
            rows = family.conditioner.read([_with_first_frame(example)])
            inputs["read"] = jax.tree.map(lambda rows: rows[0], rows)
        return inputs

    def make_mirrored(example: Mapping[str, Any]) -> dict[str, Tree]:
        # Mirrored first: what the conditioner reads may be the first frame.
        return make_inputs({**example, "inputs": _mirrored(example["inputs"], family.medium)})

    empty = family.conditioner.empty if reads_captions else source.empty_context
    return Split(source, family, make_inputs, empty, reads_captions, make_mirrored)


def _with_first_frame(example: Mapping[str, Any]) -> Mapping[str, Any]:
    """A clip with `first_frame`, of its own where it is kept whole; anything else as it is."""
    image = example["inputs"].get("image") if "inputs" in example else None
    return {**example, "first_frame": image[0]} if image is not None and image.ndim == 4 else example


def _check_image_size(config: ConfigDict, sizes: Sequence[tuple[int, ...]]) -> None:
    """Raise ValueError unless prepared data have the size that samples of the run will have."""
    if sizes and example_size(config) not in sizes:
        shown = ", ".join("x".join(map(str, size)) for size in sizes[:4]) + (", ..." if len(sizes) > 4 else "")
        sides = "height x width" if len(sizes[0]) == 2 else "frames x height x width"
        raise ValueError(
            f"{config.data.dir} was prepared at {shown} ({sides}), but config.data.image_size is "
            f"{config.data.image_size}: set it to what was prepared, or prepare with --image_size of this."
        )


def training_batches(config: ConfigDict, split: Split) -> Batches:
    """The training stream of this process.

    Raises:
      ValueError: `data.flip` where moments are cached, which are of the picture as it was; or pictures of other sizes
        than `data.image_size`.
    """
    _check_image_size(config, getattr(split.source, "sizes", ()))
    if config.data.flip and "moments" in getattr(split.source, "cached", ()):
        raise ValueError(
            f"{split.source!r} holds cached moments, which cannot be mirrored: set config.data.flip to False, or "
            "prepare the data set with --cache=none or --cache=context."
        )
    if config.data.flip and split.family.conditioner.sees_pictures and "context" in getattr(split.source, "cached", ()):
        raise ValueError(
            f"{split.source!r} holds cached contexts, which show pictures that cannot be mirrored: set "
            "config.data.flip to False, or prepare the data set with --cache=none."
        )
    return Batches(
        split.source,
        split.make_inputs,
        config.batch_size,
        config.seed,
        make_mirrored=split.make_mirrored if config.data.flip else None,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
