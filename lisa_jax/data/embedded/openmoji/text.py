"""What every data set of OpenMoji says of a drawing, as features of TFDS and as their values."""

import tensorflow_datasets as tfds

from lisa_jax.data.embedded.openmoji.catalogue import CATEGORIES, Drawing

TEXT = ("caption", "codepoints", "concept")


def text_features() -> dict[str, tfds.features.FeatureConnector]:
    """The features of `TEXT`, which are text, and `category`, a class label."""
    text = {name: tfds.features.Text() for name in TEXT}
    return {**text, "category": tfds.features.ClassLabel(names=list(CATEGORIES))}


def text_of(drawing: Drawing) -> dict[str, str]:
    """The values of those features for a drawing."""
    return {name: getattr(drawing, name) for name in (*TEXT, "category")}
