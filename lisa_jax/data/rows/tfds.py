"""Rows of a TensorFlow Datasets data set, read without TensorFlow."""

import re
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from lisa_jax.data.rows.arrow import SPLITS, STATE
from lisa_jax.data.rows.row import Columns, Row, RowError, captions_of, check_index, fingerprint_of
from lisa_jax.files.home import expanded
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.files.regular_file import check_regular
from lisa_jax.parallel.messages import with_kind

# LOCATION or LOCATION:SPLIT. A version, as in coco/2017:1.1.0, begins with a digit and so is no split, while the colon
# of a slice, as in train[10:20], is part of one.
_SPEC = re.compile(r"(?P<location>.*?)(:(?P<split>[A-Za-z_][\w\[\]:%+-]*))?", re.DOTALL)

# Where features.json names a class of another module, TFDS imports that module.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
_TRUSTED_FEATURES = "tensorflow_datasets.core.features."


class TFDSRows:
    """The examples of a split in their own order; columns are features at the top level. See `Rows`."""

    def __init__(self, spec: str, columns: Columns):
        """Opens a data set that has been prepared as ArrayRecord; nothing is downloaded or built.

        Args:
          spec: `DIR_OR_NAME` or `DIR_OR_NAME:SPLIT`: the folder of a version (with dataset_info.json), or a registered
            name as in `name/config:version` below TFDS's default data folder; a split or a slice such as
            "train[:1000]", by default "train".
          columns: the names of the features.

        Raises:
          ValueError: there is no such data set or split, or it is stored for reading by TensorFlow only.
          RowError: the data set lacks a column.
        """
        match = _SPEC.fullmatch(spec)
        self._location, self._split = match["location"], match["split"] or "train"
        if expanded(spec).is_dir():
            self._location, self._split = spec, "train"
        self._columns = columns
        info, builder = _open(self._location)
        self._name = info.full_name
        for column in columns.names():
            if column not in info.features:
                raise RowError(f"{self._name}: there is no feature {column!r}; the features are {list(info.features)}.")
        # Pictures are decoded in one place for all sources.
        encoded = {
            name: tfds.decode.SkipDecoding()
            for name, feature in info.features.items()
            if isinstance(feature, tfds.features.Image)
        }
        try:
            # Opens no file yet.
            self._examples = builder.as_data_source(self._split, decoders=encoded)
            parts = info.splits[self._split].file_instructions
            for part in parts:
                check_regular(part.filename)
        except NotImplementedError as error:
            raise ValueError(
                f"{self._location!r} is stored as {info.file_format.value}, which cannot be read by index: prepare it "
                "again with file_format='array_record'."
            ) from error
        except OSError:
            raise
        # TFDS has no exceptions of its own: ValueError, KeyError, AssertionError, ...
        except Exception as error:
            raise ValueError(
                f"{self._location!r}: the split {self._split!r} cannot be read ({with_kind(error)}); the splits are "
                f"{list(info.splits)}."
            ) from error
        self._files = [(f"{Path(part.filename).name}[{part.skip}:{part.take}]", _size(part.filename)) for part in parts]

    def __len__(self) -> int:
        return len(self._examples)

    def __repr__(self) -> str:
        return f"TFDSRows({self._location!r}, split={self._split!r}, {len(self)} rows)"

    def fingerprint(self) -> str:
        return fingerprint_of(f"tfds {self._name}", self._files, self._columns)

    def __getitem__(self, index: int) -> Row:
        index = check_index(index, len(self), self)
        where = f"{self._name} {self._split} row {index}"
        try:
            example = self._examples[index]
        # The reader, the protobuf parser and the feature decoders each have their own exceptions for damaged bytes.
        except Exception as error:
            raise RowError(f"{where}: cannot be read ({with_kind(error)}).") from error
        columns = self._columns
        captions = captions_of(example[columns.caption], columns, where)
        return Row(
            where=where,
            image=example[columns.image],
            conditions={name: example[column] for name, column in columns.conditions.items()},
            caption=captions[0],
            extras={name: example[column] for name, column in columns.extras.items()},
            more_captions=captions[1:],
        )


def _open(location: str) -> tuple[tfds.core.DatasetInfo, tfds.core.DatasetBuilder]:
    folder = expanded(location)
    if any((folder / name).is_file() for name in (STATE, SPLITS)):
        raise ValueError(f"{location!r} is no TFDS data set, but one of save_to_disk: name it as arrow:{location}.")
    if (folder / "dataset_info.json").is_file():
        builder = _builder_of(folder)
    elif folder.is_dir():
        versions = sorted(str(path.parent) for path in folder.glob("**/dataset_info.json"))
        raise ValueError(f"{location!r} holds no dataset_info.json: name the folder of a version, one of {versions}.")
    else:
        try:
            builder = tfds.builder(location, try_gcs=False)
        except tfds.core.DatasetNotFoundError as error:
            raise ValueError(f"{location!r} is neither a folder nor the name of a TFDS data set.") from error
        except Exception as error:
            raise ValueError(f"TFDS cannot open a data set named {location!r} ({with_kind(error)}).") from error
        if not builder.is_prepared():
            raise ValueError(f"The TFDS data set {location!r} has not been prepared: there is no {builder.data_dir}.")
    return builder.info, builder


def _builder_of(folder: Path) -> tfds.core.DatasetBuilder:
    try:
        _, features = read_object(folder / "dataset_info.json"), read_object(folder / "features.json")
    except FileNotFoundError as error:
        raise ValueError(f"{str(folder)!r} is no TFDS data set: there is no {Path(error.filename).name}.") from error
    except JsonError as error:
        raise ValueError(f"{str(folder)!r} is no TFDS data set: {error}.") from error
    _check_features(features, folder / "features.json")
    try:
        return tfds.builder_from_directory(folder)
    # Nor has TFDS exceptions of its own here.
    except Exception as error:
        raise ValueError(f"TFDS cannot open {str(folder)!r} ({with_kind(error)}).") from error


def _check_features(value: Any, path: Path) -> None:
    """Refuse features that would make TFDS import modules that the data set names."""
    if isinstance(value, list):
        for item in value:
            _check_features(item, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in _CLASS_KEYS and isinstance(item, str) and not item.startswith(_TRUSTED_FEATURES):
                raise ValueError(
                    f"{path} names the class {item!r}, which would be imported: only features of TFDS itself are read."
                )
            _check_features(item, path)


def _size(file: str) -> int:
    return Path(file).stat().st_size
