"""TFDS builder for clips of figures: frames, key points, part labels and captions of rendered motions."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from lisa_jax.data.embedded.clip_config import ClipConfig, config_of_size
from lisa_jax.data.embedded.clip_records import strip_file
from lisa_jax.data.embedded.figures.body import PARTS
from lisa_jax.data.embedded.figures.rendering import Scene, render
from lisa_jax.data.embedded.figures_video.motion import MOVING_POSES, sample_clip

_DESCRIPTION = """
Rendered clips of one jointed person who moves from one pose to another before a camera that stands still, in the rooms
of the data set of figures: each frame with the 18 key points of OpenPose and part labels, each clip with a caption.
Everything is drawn from the split's name and the clip's number, so train and test share no motion, and every size and
number of frames shows the same ones.
"""

COUNTS = {"train": 1000, "test": 128}


class Builder(tfds.core.GeneratorBasedBuilder):
    """`figures_video/size_8x32`; never imports TensorFlow when written and read as ArrayRecord.

    Examples: `image` uint8 (F * H, W, 3) and `labels` uint8 (F * H, W, 1), the frames of a clip one below the other,
    `keypoints` float32 (F, 18, 3), `caption` text, `category` class label (the last pose). Bump VERSION whenever
    motions or their rendering change.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Sequence[ClipConfig] = (config_of_size(8, 32, 32),)
    # Nothing is downloaded, so there are no checksums to look for; TFDS 4.9.10 would need importlib_resources for that,
    # and does not require it.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        frames, size = self.builder_config.frames, self.builder_config.image_size
        return self.dataset_info_from_configs(
            description=_DESCRIPTION + f"Part labels: {', '.join(PARTS)}.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(frames * size, size, 3), encoding_format="png"),
                    "labels": tfds.features.Image(shape=(frames * size, size, 1), encoding_format="png"),
                    "keypoints": tfds.features.Tensor(shape=(frames, 18, 3), dtype=np.float32),
                    "caption": tfds.features.Text(),
                    "category": tfds.features.ClassLabel(names=list(MOVING_POSES)),
                }
            ),
            license="Apache-2.0",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(split, count) for split, count in COUNTS.items()}

    def _generate_examples(self, split: str, count: int) -> Iterator:
        frames, size = self.builder_config.frames, self.builder_config.image_size
        for index in tqdm(range(count), desc=f"Rendering clips of figures ({split}) at {size} px", unit="clip"):
            scenes = sample_clip(split, index, frames)
            yield index, _features(scenes, size) | {"caption": scenes[0].caption, "category": scenes[0].pose}


def _features(scenes: Sequence[Scene], size: int) -> dict:
    renderings = [render(scene, size) for scene in scenes]
    return {
        "image": strip_file([rendering.image for rendering in renderings]),
        "labels": strip_file([rendering.labels[..., None] for rendering in renderings]),
        "keypoints": np.stack([rendering.keypoints for rendering in renderings]),
    }
