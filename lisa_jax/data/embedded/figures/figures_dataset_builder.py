"""TFDS builder for figures: pictures, depth, key points, part labels and captions of rendered scenes."""

import dataclasses
import functools
import io
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from lisa_jax.data.embedded.figures.body import PARTS
from lisa_jax.data.embedded.figures.poses import POSES
from lisa_jax.data.embedded.figures.rendering import Rendering, render
from lisa_jax.data.embedded.figures.scenes import sample_scene
from lisa_jax.data.embedded.png import encode_png

_DESCRIPTION = """
Rendered scenes of one jointed person, up to two simple solids (box, ball, cylinder, cone), a floor and a wall: each
with its exact depth, the 18 key points of OpenPose, part labels and a caption. Everything is drawn from the split's
name and the example's number, so train and test share no scene and every size shows the same scenes.
"""

SMALLEST = 16
COUNTS = {"train": 4000, "test": 500}


@dataclasses.dataclass
class FiguresConfig(tfds.core.BuilderConfig):
    """A square size; made by `config_of_size`."""

    image_size: int = 32


# Cached because TFDS takes a configuration by a known name only when it is the very object it knows.
@functools.cache
def config_of_size(image_size: int) -> FiguresConfig:
    """The configuration for pictures of image_size x image_size pixels; ValueError below 16."""
    if image_size < SMALLEST:
        raise ValueError(f"image_size is {image_size}, but figures need at least {SMALLEST} pixels.")
    return FiguresConfig(name=f"size_{image_size}", image_size=image_size)


class Builder(tfds.core.GeneratorBasedBuilder):
    """`figures/size_32`, `figures/size_64`; never imports TensorFlow when written and read as ArrayRecord.

    Examples: `image` uint8 (H, W, 3), `depth` float32 (H, W), `keypoints` float32 (18, 3), `labels` uint8 (H, W, 1),
    `caption` text, `category` class label (the pose). Bump VERSION whenever scenes or their rendering change.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Sequence[FiguresConfig] = (config_of_size(32), config_of_size(64))
    # Nothing is downloaded, so there are no checksums to look for; TFDS 4.9.10 would need importlib_resources for that,
    # and does not require it.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.image_size
        return self.dataset_info_from_configs(
            description=_DESCRIPTION + f"Part labels: {', '.join(PARTS)}.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "labels": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "depth": tfds.features.Tensor(shape=(size, size), dtype=np.float32),
                    "keypoints": tfds.features.Tensor(shape=(18, 3), dtype=np.float32),
                    "caption": tfds.features.Text(),
                    "category": tfds.features.ClassLabel(names=list(POSES)),
                }
            ),
            license="Apache-2.0",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(split, count) for split, count in COUNTS.items()}

    def _generate_examples(self, split: str, count: int) -> Iterator:
        size = self.builder_config.image_size
        for index in tqdm(range(count), desc=f"Rendering figures ({split}) at {size} px", unit="picture"):
            scene = sample_scene(split, index)
            yield index, _features(render(scene, size)) | {"caption": scene.caption, "category": scene.pose}


def _features(rendering: Rendering) -> dict:
    return {
        # File objects: an array handed to an Image feature would be encoded by TensorFlow.
        "image": io.BytesIO(encode_png(rendering.image)),
        "labels": io.BytesIO(encode_png(rendering.labels[..., None])),
        "depth": rendering.depth,
        "keypoints": rendering.keypoints,
    }
