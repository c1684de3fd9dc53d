"""From a study's config to its laboratory: base, data and the identity of its results."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from lisa_jax.families.family import Family
from lisa_jax.families.stable_diffusion import load_stable_diffusion
from lisa_jax.studies.data import read_study_data, render_study_data
from lisa_jax.studies.runner import study_identity
from lisa_jax.studies.trial import Laboratory


def study_laboratory(config: ConfigDict, data_file: str | Path | None) -> tuple[Laboratory, dict[str, Any]]:
    """Load what a study's config names.

    Args:
      config: fields base, image_size, condition_channels, frozen_dtype, data, and what `Laboratory` reads.
      data_file: a file that `write_study_data` wrote, in place of rendering; or None.

    Returns:
      The laboratory, and the identity of results that it gives, see `study_identity`.
    """

    def load(compute_dtype: str, conditions: tuple[str, ...] | None, decoder_width: float) -> Family:
        return load_stable_diffusion(
            config.base,
            condition_channels=tuple(config.condition_channels),
            conditions=conditions,
            frozen_dtype=config.frozen_dtype,
            compute_dtype=compute_dtype,
            decoder_width=decoder_width,
        )

    family = load("float32", None, 1.0)
    data = read_study_data(data_file) if data_file else render_study_data(config, family.encode_text)
    return Laboratory(config, load, data), study_identity(config, family.fingerprint, data.fingerprint)
