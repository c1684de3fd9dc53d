"""Which conditions a config asks for."""

from ml_collections import ConfigDict


def condition_names(config: ConfigDict) -> tuple[str, ...] | None:
    """Names of the conditions of several side networks, or None where there is one."""
    condition = config.data.condition
    return tuple(condition) if isinstance(condition, tuple | list) else None
