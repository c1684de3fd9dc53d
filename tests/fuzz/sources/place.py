"""Places that are no source, or several at once; and folders of TFDS that are damaged."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right
from fuzz.sources import folder, parquet


def place(rng: random.Random, source: Path) -> Mutation:
    """No source."""
    what = rng.choice(["nothing", "an empty folder", "a file", "two kinds", "save_to_disk", "two metadata", "a loop"])
    source.parent.mkdir(parents=True, exist_ok=True)
    if what == "a file":
        source.write_text("x")
    elif what in ("two kinds", "two metadata"):
        folder.write(source)
        if what == "two kinds":
            pq.write_table(pa.Table.from_pylist(parquet.rows()), source / "rows.parquet")
        else:
            (source / folder.CSV).write_text("file_name,caption\n0.png,x\n")
    elif what != "nothing":
        source.mkdir(parents=True)
        if what == "save_to_disk":
            _save_to_disk(source)
        elif what == "a loop":
            (source / "loop").symlink_to(source)
    return Mutation(f"a source that is {what}", Right.REFUSED, (source.name,))


def _save_to_disk(source: Path) -> None:
    """What `Dataset.save_to_disk` writes."""
    (source / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    (source / "dataset_info.json").write_text('{"features": {"image": {"_type": "Image"}}}')
    table = pa.Table.from_pylist(parquet.rows())
    file = pa.OSFile(str(source / "data-00000-of-00001.arrow"), "wb")
    with file as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def tfds(rng: random.Random, source: Path) -> Mutation:
    """A folder of TFDS, which is there, with a file that is damaged."""
    files = (path for path in source.iterdir() if path.suffix == ".json" or "array_record" in path.name)
    path = rng.choice(sorted(files))
    how = (damage.json_of if path.suffix == ".json" else damage.bytes_of)(rng, path)
    # One split is read, the other need not be whole.
    right = Right.ANY if "-test." in path.name else Right.REFUSED
    return Mutation(f"tfds: {path.name}: {how}", right, (path.name, source.name))


KINDS: Kinds = {place: 5, tfds: 8}
