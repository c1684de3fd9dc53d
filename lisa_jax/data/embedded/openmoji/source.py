"""Reading OpenMoji by index, and building it on first use."""

from pathlib import Path

from lisa_jax.data.embedded.build_once import build_once, data_root
from lisa_jax.data.embedded.openmoji.openmoji_dataset_builder import Builder, config_of_size
from lisa_jax.data.embedded.openmoji.text import TEXT
from lisa_jax.data.embedded.records import RecordSource


def load_openmoji(image_size: int = 32, split: str = "train", data_dir: str | Path | None = None) -> "OpenMojiSource":
    """Random access to OpenMoji, rendered into `data_dir` when it is not there yet (about 10 s, no download).

    Args:
      image_size: side of the square pictures in pixels, 8 or more.
      split: "train", "test", or a TFDS slice of them such as "train[:100]".
      data_dir: where data sets live; default $LISA_JAX_DATA, else ~/.cache/lisa_jax.

    Returns:
      a sequence of examples, see OpenMojiSource. Grain takes it as a source as it is.

    Raises:
      ValueError: image_size is too small, or there is no such split.
    """
    config = config_of_size(image_size)
    return OpenMojiSource(build_once(Builder, "openmoji", config, data_root(data_dir)), split)


class OpenMojiSource(RecordSource):
    """Examples by index.

    `image` uint8 (H, W, 3); `lineart` uint8 (H, W, 1), white lines on black; `caption`, `codepoints`, `concept` str;
    `category` int, an index into `category_names`. Indexing raises CorruptRecordError for a record that cannot be read.
    """

    def __init__(self, folder: Path, split: str):
        super().__init__(folder, split, "OpenMoji", TEXT)
