"""The first rows of a source."""

from lisa_jax.data.rows.row import Row, Rows, check_index


class FirstRows:
    """The first `count` rows of `rows`, or all where there are fewer; see `Rows`."""

    def __init__(self, rows: Rows, count: int):
        self._rows = rows
        self._count = min(count, len(rows))

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"FirstRows({self._rows!r}, {self._count})"

    def fingerprint(self) -> str:
        """The source's hash and the number of rows."""
        return f"{self._rows.fingerprint()}[:{self._count}]"

    def __getitem__(self, index: int) -> Row:
        return self._rows[check_index(index, len(self), self)]
