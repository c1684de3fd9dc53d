"""A study of the image toy; data are those of $LISA_JAX_DATA, at 16 px."""

from ml_collections import ConfigDict

from lisa_jax.configs.studies import base
from lisa_jax.experiments.conditions import condition_names
from lisa_jax.families.family import Family
from toys import image


def toy_base(config: ConfigDict, mesh: object = None) -> Family:
    """In place of `load_base`."""
    return image.family(condition_names(config), decoder_width=config.lisa.decoder_width)


def study_config(data: str = "openmoji") -> ConfigDict:
    """A study with a point every two steps, and samples every four."""
    config = base.study(data, "toy", "lowres")
    config.training.update(eval_every=2, preview_every=4, preview_count=4)
    config.training.data.image_size = 16
    config.training.optimizer.warmup_steps = 2
    config.training.sampling.update(num_steps=2, batch_size=4)
    config.sample_at = (2,)
    config.validation.update(draws=2, num_examples=6, probe=3)
    config.save_side = True
    return config
