"""Reading figures by index, and building them on first use."""

from pathlib import Path
from typing import Any, SupportsIndex

from lisa_jax.data.embedded.build_once import build_once, data_root
from lisa_jax.data.embedded.figures.figures_dataset_builder import Builder, config_of_size
from lisa_jax.data.embedded.records import RecordSource


def load_figures(image_size: int = 32, split: str = "train", data_dir: str | Path | None = None) -> "FiguresSource":
    """Random access to figures, rendered into `data_dir` when they are not there yet (about 40 s at 32 px).

    Args:
      image_size: side of the square pictures in pixels, 16 or more.
      split: "train" (4,000 examples), "test" (500), or a TFDS slice of them such as "train[:100]".
      data_dir: where data sets live; default $LISA_JAX_DATA, else ~/.cache/lisa_jax.

    Returns:
      a sequence of examples, see FiguresSource. Grain takes it as a source as it is.

    Raises:
      ValueError: image_size is too small, or there is no such split.
    """
    config = config_of_size(image_size)
    return FiguresSource(build_once(Builder, "figures", config, data_root(data_dir)), split)


class FiguresSource(RecordSource):
    """Examples by index.

    `image` uint8 (H, W, 3); `depth` float32 (H, W), metres from the camera along its axis; `keypoints` float32 (18, 3)
    in OpenPose's order: x, y in pixels (the centre of the top left pixel is (0.5, 0.5)), then 1 where visible, 0 where
    hidden or outside the picture; `labels` uint8 (H, W), indices into `figures.body.PARTS`; `caption`
    str; `category` int, an index into `category_names`, the pose. Indexing raises CorruptRecordError for a record that
    cannot be read.
    """

    def __init__(self, folder: Path, split: str):
        super().__init__(folder, split, "figures", ("caption",))

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        example = super().__getitem__(index)
        return example | {"labels": example["labels"][..., 0]}
