import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lisa_jax.data.rows import parquet_pages
from lisa_jax.data.rows.parquet_pages import PageError, shared_bytes


@dataclasses.dataclass
class Said:
    """What a footer says of a column chunk."""

    path_in_schema: str
    data_page_offset: int
    has_dictionary_page: bool
    dictionary_page_offset: int | None
    encodings: tuple[str, ...]
    total_compressed_size: int
    total_uncompressed_size: int

    @staticmethod
    def of(chunk, **lies):
        return Said(**{field.name: getattr(chunk, field.name) for field in dataclasses.fields(Said)} | lies)


def chunks(file):
    footer = pq.ParquetFile(file).metadata
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    return [group.column(index) for group in groups for index in range(group.num_columns)]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("options", [{"use_dictionary": False, "compression": "none"}, {"write_page_checksum": True}])
def test_pages_hold_what_the_footer_says_and_one_that_says_less_is_found_out(tmp_path, monkeypatch, version, options):
    monkeypatch.setattr(parquet_pages, "_HARMLESS_BYTES", 0)
    cells = [np.random.default_rng(index).bytes(3000) for index in range(60)]
    table = pa.table({"a": pa.array(cells, pa.binary()), "b": [[1, None]] * 60, "c": pa.array([None] * 60, pa.int32())})
    file = tmp_path / "a.parquet"
    pq.write_table(table, file, data_page_version=version, row_group_size=25, data_page_size=5000, **options)
    for chunk in chunks(file):
        # The dictionaries of what is large are given up at once.
        assert shared_bytes(file, chunk) == (0 if "use_dictionary" in options else pytest.approx(60_000, abs=60_000))
        if chunk.path_in_schema == "a":
            # Only the sum over all its pages is more than twice this.
            lie = Said.of(chunk, total_uncompressed_size=(chunk.num_values * 3000 - 2000) // 2)
            with pytest.raises(PageError, match=r"pages of column 'a' hold .* or more, but the footer says"):
                shared_bytes(file, lie)


def test_what_is_no_page_header_is_left_to_the_reader(tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), file)
    chunk = chunks(file)[0]
    for junk in (b"", b"\xff" * 100, b"\x1c" * 100, b"\x15" + b"\xff" * 99, b"\x18\xff\xff\xff\xff\x7f"):
        file.write_bytes(b"PAR1" + junk)
        assert shared_bytes(file, Said.of(chunk)) == chunk.total_uncompressed_size
