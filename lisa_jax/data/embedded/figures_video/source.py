"""Reading clips of figures by index, and building them on first use."""

from pathlib import Path
from typing import Any, SupportsIndex

from lisa_jax.data.embedded.build_once import build_once, data_root
from lisa_jax.data.embedded.figures_video.figures_video_dataset_builder import Builder, config_of_size
from lisa_jax.data.embedded.records import RecordSource

# Frames a second of a motion that takes about a second.
FPS = 7


def load_figures_video(
    size: tuple[int, int, int] = (8, 32, 32), split: str = "train", data_dir: str | Path | None = None
) -> "FiguresVideoSource":
    """Random access to clips of figures, rendered into `data_dir` when they are not there yet.

    At 8 x 32 x 32 that takes 50 s of one core.

    Args:
      size: frames, height and width: 2 frames or more of square pictures of 16 pixels a side or more.
      split: "train" (1,000 clips), "test" (128), or a TFDS slice of them such as "train[:100]".
      data_dir: where data sets live; default $LISA_JAX_DATA, else ~/.cache/lisa_jax.

    Returns:
      a sequence of examples, see FiguresVideoSource. Grain takes it as a source as it is.

    Raises:
      ValueError: another size, or there is no such split.
    """
    frames, height, width = size
    if height != width:
        raise ValueError(f"Clips of figures are square, but {height}x{width} is asked for.")
    folder = build_once(Builder, "figures_video", config_of_size(frames, height), data_root(data_dir))
    return FiguresVideoSource(folder, split)


class FiguresVideoSource(RecordSource):
    """Clips by index.

    `image` uint8 (F, H, W, 3); `keypoints` float32 (F, 18, 3) and `labels` uint8 (F, H, W), of each frame as figures
    have them; `first_frame` uint8 (H, W, 3); `fps` int; `caption` str; `category` int, an index into `category_names`,
    the pose at the end. Indexing raises CorruptRecordError for a record that cannot be read.
    """

    def __init__(self, folder: Path, split: str):
        super().__init__(folder, split, "clips of figures", ("caption",))

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        example = super().__getitem__(index)
        frames, width = len(example["keypoints"]), example["image"].shape[1]
        image = example["image"].reshape(frames, -1, width, 3)
        labels = example["labels"].reshape(frames, -1, width)
        size = image.shape[1:3]
        shown = {"image": image, "labels": labels, "first_frame": image[0], "fps": FPS}
        return example | shown | {"size": size, "original_size": size}
