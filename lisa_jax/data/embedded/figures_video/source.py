"""Reading clips of figures by index, and building them on first use."""

from pathlib import Path

from lisa_jax.data.embedded.build_once import build_once, data_root
from lisa_jax.data.embedded.clip_config import config_of_size
from lisa_jax.data.embedded.clip_records import ClipSource
from lisa_jax.data.embedded.figures_video.figures_video_dataset_builder import Builder


def load_figures_video(
    size: tuple[int, int, int] = (8, 32, 32), split: str = "train", data_dir: str | Path | None = None
) -> ClipSource:
    """Random access to clips of figures, rendered into `data_dir` when they are not there yet.

    At 8 x 32 x 32 that takes 50 s of one core.

    Args:
      size: frames, height and width: 2 frames or more of square pictures of 16 pixels a side or more.
      split: "train" (1,000 clips), "test" (128), or a TFDS slice of them such as "train[:100]".
      data_dir: where data sets live; default $LISA_JAX_DATA, else ~/.cache/lisa_jax.

    Returns:
      a sequence of examples, see ClipSource, with `keypoints` float32 (F, 18, 3), and these and `labels` of each frame
      as figures have them; `category` is the pose at the end. Grain takes it as a source as it is.

    Raises:
      ValueError: another size, or there is no such split.
    """
    folder = build_once(Builder, "figures_video", config_of_size(*size), data_root(data_dir))
    return ClipSource(folder, split, "clips of figures", ("caption",))
