"""What is computed once so that training need not: moments of images and of conditions, and contexts."""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from lisa_jax.data.prepared.dtypes import stored_dtype
from lisa_jax.data.prepared.layout import FIRST_FRAME, FPS, PICTURE_FIELDS
from lisa_jax.data.prepared.paths import leaves_by_path, name_of
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.family import UNIT_PICTURES, ConditionEncoder, LatentSpace, Setup, check_rgb
from lisa_jax.families.registry import load_family
from lisa_jax.media.channels import RGB
from lisa_jax.media.image import IMAGE
from lisa_jax.media.video import VIDEO
from lisa_jax.parallel.compiling import Announced
from lisa_jax.preparing.images import ConditionedImage
from lisa_jax.preparing.report import CUT

# (parameters of the latent space, uint8 (n, *space, 3)) -> moments (n, *space', m).
Moments = Callable[[Params, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Encoding:
    """What is to be cached.

    Attributes:
      latents: the latent space whose moments are cached, or None.
      condition: conditions to what side networks see; where that has moments, they are cached with those of `latents`.
      conditioner: the conditioner whose contexts are cached, or None.
      fingerprint: of the base, or None where nothing is cached.
      batch_size: images encoded at once.
      cuts: whether captions are cut, see `Conditioner.cuts`; None where that is not known or never happens.
    """

    latents: LatentSpace | None = None
    condition: ConditionEncoder = UNIT_PICTURES
    conditioner: Conditioner | None = None
    fingerprint: str | None = None
    batch_size: int = 8
    cuts: Callable[[Sequence[Mapping[str, Any]]], Sequence[bool]] | None = None

    def empty_context(self) -> Tree | None:
        """`Conditioner.empty`, floats in float32; None where nothing is cached, ValueError where it is not finite."""
        if self.conditioner is None:
            return None
        check_finite({"context": self.conditioner.empty}, "The empty caption")

        def stored(leaf: np.ndarray) -> np.ndarray:
            return leaf.astype(np.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

        return jax.tree.map(stored, self.conditioner.empty)

    def shapes(self, size: tuple[int, ...], channels: Mapping[str, int]) -> dict[str, Tree]:
        """Shapes and dtypes of what is stored of an example.

        Args:
          size: (H, W) of image and conditions, (F, H, W) of clips.
          channels: of the conditions, by name.

        Raises:
          ValueError: a size or a number of channels that the base does not take.
        """
        if self.condition.moments is not None:
            check_rgb(channels)

        def encode(moments: Moments, picture: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(self.latents.moments_shape(*size), jnp.bfloat16)

        def picture(channels: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((*size, channels), jnp.uint8)

        conditions = {name: picture(count) for name, count in channels.items()}
        inputs = self.stored_pictures(picture(RGB), conditions, encode)
        if len(size) == VIDEO.axes:
            inputs |= {FPS: jax.ShapeDtypeStruct((), jnp.float32)}
        if self.conditioner is None:
            frame = {FIRST_FRAME: jax.ShapeDtypeStruct((*size[-2:], RGB), jnp.uint8)} if self.keeps_frame(size) else {}
            return inputs | frame | dict.fromkeys(PICTURE_FIELDS, jax.ShapeDtypeStruct((2,), jnp.int32))
        context = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, stored_dtype(leaf.dtype)), self.conditioner.shapes_at(size)
        )
        return {**inputs, "context": context}

    def keeps_frame(self, size: tuple[int, ...]) -> bool:
        """Whether the first frame of an example is stored: contexts are not, and of the clip only moments."""
        return len(size) == VIDEO.axes and self.conditioner is None and self.latents is not None

    def stored_pictures(
        self, image: Any, conditions: Mapping[str, Any], encode: Callable[[Moments, Any], Any]
    ) -> dict[str, Tree]:
        """The inputs that image and conditions become; `encode` gives the moments of a picture."""
        inputs = {"image": image} if self.latents is None else {"moments": encode(self.latents.moments, image)}
        if not conditions:
            return inputs
        if self.latents is None or self.condition.moments is None:
            return {**inputs, "condition": dict(conditions)}
        moments = {name: encode(self.condition.moments, picture) for name, picture in conditions.items()}
        return {**inputs, "condition_moments": moments}


def load_encoding(
    base: str | Path | None,
    cache: Collection[str],
    batch_size: int,
    leave_out: Collection[str] = (),
    axes: int = IMAGE.axes,
    vae: str | Path | None = None,
) -> Encoding:
    """Load of a base what the cache needs; of the main network nothing stays but its fingerprint.

    `axes` are those of the rows' medium.

    Raises:
      ValueError: nothing to encode with, an unknown kind of cache, or something that cannot be left out of the base.
      CheckpointError: the base is not whole, or no network to train beside.
    """
    unknown = set(cache) - {"moments", "context"}
    if unknown:
        raise ValueError(f"--cache={sorted(unknown)[0]}: there are moments, context and none.")
    if not cache:
        if leave_out or vae:
            flag = "--leave_out" if leave_out else "--vae"
            raise ValueError(f"{flag} is of the base that encodes, but nothing is: give --cache, or no {flag}.")
        return Encoding()
    if not base:
        raise ValueError(f"To cache {' and '.join(sorted(cache))}, give the --base that trains later; or --cache=none.")
    family = load_family(base, Setup(compute_dtype="float32", frozen_dtype="float32"), _let_go, leave_out, vae)
    if family.medium.axes != axes:
        raise ValueError(
            f"{base} makes videos: say how many --frames they have."
            if axes == IMAGE.axes
            else f"{base} makes images: give no --frames, and rows of images."
        )
    # Weights that nothing can be trained beside are told before hours of encoding.
    _ = family.frozen
    if "moments" in cache and not family.latents.draws:
        raise ValueError(f"{base} has no VAE, so there are no moments to cache: use --cache=context or --cache=none.")
    devices = jax.local_device_count()
    if batch_size % devices:
        raise ValueError(f"--batch_size={batch_size} must be a multiple of the {devices} devices.")
    return Encoding(
        family.latents if "moments" in cache else None,
        family.condition,
        family.conditioner.placed() if "context" in cache else None,
        family.fingerprint,
        batch_size,
        family.conditioner.cuts,
    )


def _let_go(path: str, array: np.ndarray) -> None:
    """In place of a device for a tensor that is read to be checked."""
    del path, array


def with_contexts(
    images: Iterable[ConditionedImage], conditioner: Conditioner | None, at_once: int
) -> Iterator[ConditionedImage]:
    """The same images in the same order, each with the contexts of its captions where contexts are cached.

    `at_once` of them are held in memory.
    """
    images = iter(images)
    while block := list(itertools.islice(images, at_once)):
        if conditioner is None:
            yield from block
        elif conditioner.sees_pictures:
            # Those of one size together.
            by_size = {
                index: _encoded([image for image in block if image.size_index == index], conditioner, at_once)
                for index in {image.size_index for image in block}
            }
            yield from (next(by_size[image.size_index]) for image in block)
        else:
            yield from _encoded(block, conditioner, at_once)


def _encoded(images: Sequence[ConditionedImage], conditioner: Conditioner, at_once: int) -> Iterator[ConditionedImage]:
    contexts = conditioner.contexts([example for image in images for example in image.examples()], at_once)
    stored = jax.tree.map(lambda rows: rows.astype(stored_dtype(rows.dtype)), contexts)
    numbers = itertools.count()
    for image in images:
        first, *others = (_row(stored, next(numbers)) for _ in image.examples())
        yield dataclasses.replace(image, context=first, more_contexts=tuple(others))


def with_cuts_noted(
    images: Iterable[ConditionedImage], cuts: Callable[[Sequence[Mapping[str, Any]]], Sequence[bool]] | None
) -> Iterator[ConditionedImage]:
    """The same images in the same order, with a note where a caption is cut."""
    for image in images:
        is_cut = cuts is not None and any(cuts(image.examples()))
        yield dataclasses.replace(image, notes=(*image.notes, CUT)) if is_cut else image


def batches_of_one_size(images: Iterable[ConditionedImage], batch_size: int) -> Iterator[list[ConditionedImage]]:
    """Up to batch_size images of the same size each: full batches as they fill up, the rest at the end."""
    waiting: dict[int, list[ConditionedImage]] = {}
    for image in images:
        batch = waiting.setdefault(image.size_index, [])
        batch.append(image)
        if len(batch) == batch_size:
            yield waiting.pop(image.size_index)
    for size_index in sorted(waiting):
        yield waiting[size_index]


def batch_encoder(encoding: Encoding) -> Callable[[Sequence[ConditionedImage]], Iterator[dict[str, Tree]]]:
    """From images of one size, with their contexts and batch_size of them at most, to what is stored of each.

    ValueError, with file and row, for inputs that are not finite.
    """
    encode = None if encoding.latents is None else _moments_encoder(encoding.latents.params, encoding.batch_size)

    def inputs(images: Sequence[ConditionedImage]) -> Iterator[dict[str, Tree]]:
        conditions = {name: np.stack([image.conditions[name] for image in images]) for name in images[0].conditions}
        rows = encoding.stored_pictures(np.stack([image.image for image in images]), conditions, encode)
        for row, image in enumerate(images):
            found = _row(rows, row) | _known(image, encoding.keeps_frame(image.image.shape[:-1]))
            for stored in (found, *(other for _, other in image.others())):
                check_finite(stored, image.where)
            yield found

    return inputs


def _known(image: ConditionedImage, keeps_frame: bool) -> dict[str, Tree]:
    """The cached context, or what a conditioner may read of the picture once there is one; of clips, their rate."""
    known = {} if image.fps is None else {FPS: np.asarray(image.fps, np.float32)}
    if image.context is not None:
        return known | {"context": image.context}
    frame = {FIRST_FRAME: image.image[0]} if keeps_frame else {}
    return known | frame | {name: np.asarray(getattr(image, name), np.int32) for name in PICTURE_FIELDS}


def check_finite(encoded: Tree, where: str) -> None:
    """Raise ValueError where something encoded is not finite as it is stored; `where` names what it is encoded of."""
    for path, leaf in leaves_by_path(encoded).items():
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(leaf).all():
            raise ValueError(
                f"{where}: its {name_of(path)} are not finite, for the base's encoder or its weights overflow: give a "
                "--base whose VAE and text encoder are in float32, or mended for float16."
            )


def _moments_encoder(params: Params, batch_size: int) -> Callable[[Moments, np.ndarray], np.ndarray]:
    """Pictures uint8 (n, H, W, 3), batch_size of them at most -> moments bfloat16 (n, h, w, m); one program a size."""
    mesh = jax.sharding.Mesh(np.asarray(jax.local_devices()), ("data",))
    rows, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    params = jax.device_put(params, whole)

    def moments_of(params: Params, pictures: jax.Array, *, moments: Moments) -> jax.Array:
        return moments(params, pictures).astype(jnp.bfloat16)

    encode = Announced(moments_of, "the encoder of pictures", position=1, static_argnames="moments")

    def encode_filled_up(moments: Moments, pictures: np.ndarray) -> np.ndarray:
        # Filled up to one size, so that one compiled program serves all.
        filled = np.concatenate([pictures, *[pictures[:1]] * (batch_size - len(pictures))])
        return np.asarray(encode(params, jax.device_put(filled, rows), moments=moments))[: len(pictures)]

    return encode_filled_up


def _row(tree: Tree, row: int) -> Tree:
    return jax.tree.map(lambda rows: rows[row], tree)
