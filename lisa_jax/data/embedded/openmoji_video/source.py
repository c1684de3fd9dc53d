"""Reading clips of OpenMoji by index, and building them on first use."""

from pathlib import Path

from lisa_jax.data.embedded.build_once import build_once, data_root
from lisa_jax.data.embedded.clip_config import config_of_size
from lisa_jax.data.embedded.clip_records import ClipSource
from lisa_jax.data.embedded.openmoji.text import TEXT
from lisa_jax.data.embedded.openmoji_video.openmoji_video_dataset_builder import Builder


def load_openmoji_video(
    size: tuple[int, int, int] = (8, 32, 32), split: str = "train", data_dir: str | Path | None = None
) -> ClipSource:
    """Random access to clips of OpenMoji drawings, rendered into `data_dir` when they are not there yet.

    At 8 x 32 x 32 that takes 125 s of one core.

    Args:
      size: frames, height and width: 2 frames or more of square pictures of 16 pixels a side or more.
      split: "train", "test", or a TFDS slice of them such as "train[:100]"; a clip of each drawing of openmoji.
      data_dir: where data sets live; default $LISA_JAX_DATA, else ~/.cache/lisa_jax.

    Returns:
      a sequence of examples, see ClipSource, with `lineart`, white lines on black, with `labels`, 1 where the drawing
      is and 0 where the background is, and with `codepoints` and `concept`, str; `category` is the Unicode group. Grain
      takes it as a source as it is.

    Raises:
      ValueError: another size, or there is no such split.
    """
    folder = build_once(Builder, "openmoji_video", config_of_size(*size), data_root(data_dir))
    return ClipSource(folder, split, "clips of OpenMoji", TEXT)
