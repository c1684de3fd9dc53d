"""Errors of other libraries, told within a sentence of ours. Imports nothing of ours: every room tells some."""


def one_line(error: object, limit: int | None = None) -> str:
    """What an error says, on one line; of one that tells a long story, the first `limit` characters."""
    return " ".join(str(error).split())[:limit]


def with_kind(error: Exception) -> str:
    """Kind and message of an error, `KeyError: 'w'`: for libraries whose messages say little without their kind."""
    return f"{type(error).__name__}: {one_line(error, 200)}"
