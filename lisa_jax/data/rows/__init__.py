"""Tables of (image, condition, caption) wherever they lie, read row by row: what `lisa_jax prepare` starts from."""

from lisa_jax.data.rows.first_rows import FirstRows
from lisa_jax.data.rows.open import open_rows
from lisa_jax.data.rows.row import Columns, Row, RowError, Rows

__all__ = [
    "Columns",
    "FirstRows",
    "Row",
    "RowError",
    "Rows",
    "open_rows",
]
