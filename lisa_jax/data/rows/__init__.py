"""Tables of (image, condition, caption) wherever they lie, read row by row: what `lisa_jax prepare` starts from."""

from lisa_jax.data.rows.decode import Decoded, decode_labels, decode_picture, read_labels, read_picture
from lisa_jax.data.rows.open import open_rows
from lisa_jax.data.rows.row import Columns, Row, RowError, Rows

__all__ = [
    "Columns",
    "Decoded",
    "Row",
    "RowError",
    "Rows",
    "decode_labels",
    "decode_picture",
    "open_rows",
    "read_labels",
    "read_picture",
]
