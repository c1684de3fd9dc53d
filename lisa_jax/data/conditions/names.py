"""Names of conditions; imports nothing."""


def name_of(condition: str) -> str:
    """The name that a condition and its side network go by: its own, or the function's of module:function."""
    return condition.rpartition(":")[2]
