"""How a prepared data set lies on disk: what its writer and its reader share.

A folder that `tfds.builder_from_directory` opens, with two files more:

    dataset_info.json, features.json             written by TFDS
    prepared-train.array_record-00000-of-00042   tf.train.Example records, one a group: random access; zstd if it pays
    lisa_jax.json                                `Metadata`: sizes, what is stored of an example, by which base, and
                                                 hashes of every file that training reads
    empty_context.safetensors                    (1, ...): context of "", where contexts are cached; floats in float32

Stored of an example are its caption and its inputs, the tree that `experiments.inputs` describes; and, where contexts
are not cached, `PICTURE_FIELDS`, which the conditioner may read then; of clips `FPS`, and where nothing else shows it
`FIRST_FRAME`. Every array is a feature, named by its path:
`moments`, `context.tokens`, `condition.pose`. It is a `tfds.features.Tensor(encoding="bytes")`: raw little-endian
bytes. Floating point numbers are stored in bfloat16, as the uint16 of the same bits (`array.view(ml_dtypes.bfloat16)`
gives it back), for TFDS without TensorFlow knows bfloat16 only where ml_dtypes happens to be imported.

Of an example with several captions the records hold the others, too, with their contexts where those are cached, in
features that TFDS is not told of and does not read: `caption/1`, `context.tokens/1`, `caption/2`, ..., as raw bytes.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds

from lisa_jax.data.prepared.metadata import Feature, Metadata
from lisa_jax.data.prepared.paths import Tree, leaves_by_path, name_of

DATASET = "prepared"
EMPTY_CONTEXT_FILE = "empty_context.safetensors"
# Of the picture that an example was cut out of: int32, (height, width), and (top, left) once that is resized.
PICTURE_FIELDS = ("original_size", "crop")
# Of clips, float32: frames a second, and uint8 (H, W, 3): the first frame, where neither it nor the context is stored.
FPS, FIRST_FRAME = "fps", "first_frame"
EXAMPLE_FIELDS = (*PICTURE_FIELDS, FPS, FIRST_FRAME)


def features_of(inputs: Sequence[Tree]) -> dict[str, Feature]:
    """The features that hold an example's inputs, given as a tree of shapes and dtypes for each size."""
    of_sizes = [leaves_by_path(tree) for tree in inputs]
    return {
        name_of(path): Feature(path, leaf.dtype.name, tuple(leaves[path].shape for leaves in of_sizes))
        for path, leaf in of_sizes[0].items()
    }


def named_leaves(inputs: Tree) -> dict[str, np.ndarray]:
    """An example's inputs as its features hold them, by name."""
    return {
        name_of(path): leaf.view(np.uint16) if leaf.dtype == jnp.bfloat16 else leaf
        for path, leaf in leaves_by_path(inputs).items()
    }


def tfds_features(metadata: Metadata) -> tfds.features.FeaturesDict:
    """The TFDS features of a prepared data set; sides that differ between buckets are None."""

    def tensor(feature: Feature) -> tfds.features.Tensor:
        sides = zip(*feature.shapes, strict=True)
        shape = tuple(side[0] if len(set(side)) == 1 else None for side in sides)
        if feature.dtype == "bfloat16":
            doc = "bfloat16, as the uint16 of the same bits"
            return tfds.features.Tensor(shape=shape, dtype=np.uint16, encoding="bytes", doc=doc)
        return tfds.features.Tensor(shape=shape, dtype=np.dtype(feature.dtype), encoding="bytes")

    tensors = {name: tensor(feature) for name, feature in metadata.features.items()}
    return tfds.features.FeaturesDict({"caption": tfds.features.Text(), **tensors})


def name_of_another(name: str, number: int) -> str:
    """The name of a feature for another caption of the example, counted from 1."""
    return f"{name}/{number}"


def shard_file(split: str, index: int, count: int) -> str:
    """File name of a shard, by TFDS's default template."""
    return f"{DATASET}-{split}.array_record-{index:05d}-of-{count:05d}"
