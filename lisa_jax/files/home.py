"""The home folder of who started this process, if there is one."""

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with the home folder that its `~` stands for; as it is written, where it stands for none."""
    try:
        return Path(path).expanduser()
    # A folder may be called so, and some users of containers have no home.
    except RuntimeError:
        return Path(path)


def cache_folder() -> Path:
    """Where rendered data and compiled programs are kept, unless told otherwise: ~/.cache/lisa_jax.

    Raises:
      FileNotFoundError: this user has no home folder.
    """
    folder = expanded("~/.cache/lisa_jax")
    if not folder.is_absolute():
        raise FileNotFoundError("There is no home folder to keep data in: set HOME, or LISA_JAX_DATA to a folder.")
    return folder
