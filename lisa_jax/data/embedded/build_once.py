"""Data sets that are made on first use: where they live, and a build that is either absent or whole."""

import contextlib
import io
import os
from pathlib import Path

import tensorflow_datasets as tfds

from lisa_jax.files.home import cache_folder, expanded
from lisa_jax.files.temporary_folder import temporary_folder


def data_root(data_dir: str | Path | None) -> Path:
    """Where data sets live: `data_dir`, else $LISA_JAX_DATA, else ~/.cache/lisa_jax."""
    return expanded(data_dir or os.environ.get("LISA_JAX_DATA") or cache_folder())


def build_once(
    builder: type[tfds.core.GeneratorBasedBuilder], name: str, config: tfds.core.BuilderConfig, root: Path
) -> Path:
    """The folder root/name/configuration/version of a data set, built when it is not there.

    It is prepared in a private folder and appears by one rename, so it is either absent or whole: a killed build leaves
    nothing that would be taken for data, and of several processes that build at once the first one to finish wins.
    (TFDS renames likewise, but draws the folder's name from `random`, which processes may have seeded alike.)
    """
    relative = Path(name) / config.name / str(builder.VERSION)
    final = root / relative
    if final.exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(f".{name}_build_", root) as private:
        # TFDS prints where it writes, which is soon untrue; its progress bars go to stderr.
        with contextlib.redirect_stdout(io.StringIO()):
            builder(data_dir=private, config=config, file_format="array_record").download_and_prepare()
        try:
            os.rename(private / relative, final)
        except OSError:
            # A folder that is not empty cannot be renamed onto: then another process has finished first.
            if not final.exists():
                raise
    return final
