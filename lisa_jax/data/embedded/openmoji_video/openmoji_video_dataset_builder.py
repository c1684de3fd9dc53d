"""TFDS builder for clips of OpenMoji: frames, line art, masks and captions of drawings that move."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from lisa_jax.data.embedded.clip_config import ClipConfig, config_of_size
from lisa_jax.data.embedded.clip_records import strip_file
from lisa_jax.data.embedded.openmoji import catalogue
from lisa_jax.data.embedded.openmoji.distinct import distinct_drawings
from lisa_jax.data.embedded.openmoji.rendering import render_image, render_lineart, render_mask
from lisa_jax.data.embedded.openmoji.text import text_features, text_of
from lisa_jax.data.embedded.openmoji_video.scenes import MovingDrawing, sample_clip

_DESCRIPTION = """
Clips of the drawings of the data set openmoji, one of each, that move, turn and grow or shrink before a coloured
background that stands still: each frame with its line art (white lines on black) and its mask, each clip with a
caption. Train and test share no concept, as there.
All emojis designed by OpenMoji - the open-source emoji and icon project. License: CC BY-SA 4.0.
Changes: rasterised, layers separated, moved before backgrounds.
"""

LABELS = ("background", "drawing")


class Builder(tfds.core.GeneratorBasedBuilder):
    """`openmoji_video/size_8x32`; never imports TensorFlow when written and read as ArrayRecord.

    Examples: `image` uint8 (F * H, W, 3), `lineart` and `labels` uint8 (F * H, W, 1), the frames of a clip one below
    the other, `caption`, `codepoints`, `concept` text, `category` class label. Bump VERSION whenever motions,
    backgrounds or their rendering change.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Sequence[ClipConfig] = (config_of_size(8, 32, 32),)
    # Nothing is downloaded, so there are no checksums to look for; TFDS 4.9.10 would need importlib_resources for that,
    # and does not require it.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        frames, size = self.builder_config.frames, self.builder_config.image_size
        pictures = {"image": 3, "lineart": 1, "labels": 1}
        return self.dataset_info_from_configs(
            description=_DESCRIPTION + f"Labels: {', '.join(LABELS)}.",
            features=tfds.features.FeaturesDict(
                {
                    **{
                        name: tfds.features.Image(shape=(frames * size, size, channels), encoding_format="png")
                        for name, channels in pictures.items()
                    },
                    **text_features(),
                }
            ),
            homepage="https://openmoji.org",
            license="CC BY-SA 4.0",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        # Twins are looked for across both splits.
        drawings = [drawing for drawing, _, _ in distinct_drawings(self.builder_config.image_size)]
        return {
            split: self._generate_examples([drawing for drawing in drawings if drawing.split == split], split)
            for split in ("train", "test")
        }

    def _generate_examples(self, drawings: Sequence[catalogue.Drawing], split: str) -> Iterator:
        frames, size = self.builder_config.frames, self.builder_config.image_size
        for drawing in tqdm(drawings, desc=f"Rendering clips of OpenMoji ({split}) at {size} px", unit="clip"):
            clip = sample_clip(drawing, frames)
            yield drawing.codepoints, _pictures(clip, size) | text_of(drawing) | {"caption": clip.caption}


def _pictures(clip: MovingDrawing, size: int) -> dict:
    alone = clip.moved()
    return {
        "image": strip_file([render_image(svg, size) for svg in clip.frames()]),
        "lineart": strip_file([render_lineart(svg, size) for svg in alone]),
        "labels": strip_file([render_mask(svg, size)[..., None].astype(np.uint8) for svg in alone]),
    }
