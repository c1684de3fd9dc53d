"""Reading OpenMoji by index, and building it on first use."""

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, SupportsIndex

import tensorflow_datasets as tfds

from lisa_jax.data.openmoji.openmoji_dataset_builder import Builder, OpenMojiConfig, config_of_size
from lisa_jax.data.records import CorruptRecordError


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
    root = Path(data_dir or os.environ.get("LISA_JAX_DATA") or "~/.cache/lisa_jax").expanduser()
    folder = _build(config, root)
    return OpenMojiSource(tfds.builder_from_directory(folder).as_data_source(split), folder, split)


class OpenMojiSource:
    """Examples by index.

    `image` uint8 (H, W, 3); `lineart` uint8 (H, W, 1), white lines on black; `caption`, `codepoints`, `concept` str;
    `category` int, an index into `category_names`. Indexing raises CorruptRecordError for a record that cannot be read.
    """

    def __init__(self, records: Any, folder: Path, split: str):
        self._records = records
        self._folder = folder
        self._split = split
        self.category_names: list[str] = records.dataset_info.features["category"].names

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        index = index.__index__()
        if not 0 <= index < len(self):
            raise IndexError(f"Index {index} is out of range for OpenMoji {self._split!r} of {len(self)} examples.")
        try:
            example = self._records[index]
            text = {name: example[name].decode() for name in ("caption", "codepoints", "concept")}
        # The reader, the protobuf parser and the PNG decoder each have their own exceptions for damaged bytes.
        except Exception as error:
            raise CorruptRecordError(
                f"Record {index} of OpenMoji {self._split!r} in {self._folder} is damaged ({_one_line(error)}): "
                "delete that folder and load the data set again to rebuild it."
            ) from error
        return {**example, **text, "category": int(example["category"])}

    def __repr__(self) -> str:
        return f"OpenMojiSource({str(self._folder)!r}, split={self._split!r}, len={len(self)})"


def _build(config: OpenMojiConfig, root: Path) -> Path:
    """The folder of the prepared data set below root.

    It is prepared in a private folder and appears by one rename, so it is either absent or whole: a killed build leaves
    nothing that would be taken for data, and of several processes that build at once the first one to finish wins.
    (TFDS renames likewise, but draws the folder's name from `random`, which processes may have seeded alike.)
    """
    relative = Path("openmoji") / config.name / str(Builder.VERSION)
    final = root / relative
    if final.exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix=".openmoji_build_", dir=root))
    try:
        # TFDS prints where it writes, which is soon untrue; its progress bars go to stderr.
        with contextlib.redirect_stdout(io.StringIO()):
            Builder(data_dir=private, config=config, file_format="array_record").download_and_prepare()
        os.rename(private / relative, final)
    except OSError:
        # A folder that is not empty cannot be renamed onto: then another process has finished first.
        if not final.exists():
            raise
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return final


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
