"""The data sets that come with the package: made on first use, without a download."""

from lisa_jax.data.embedded.figures import load_figures
from lisa_jax.data.embedded.figures_video import load_figures_video
from lisa_jax.data.embedded.openmoji import load_openmoji
from lisa_jax.data.embedded.openmoji_video import load_openmoji_video
from lisa_jax.data.embedded.records import RecordSource

_LOADERS = {
    "openmoji": load_openmoji,
    "figures": load_figures,
    "figures_video": load_figures_video,
    "openmoji_video": load_openmoji_video,
}

EMBEDDED = tuple(_LOADERS)


def load_embedded(name: str, image_size: int | tuple[int, int, int], split: str) -> RecordSource:
    """A split of the embedded data set `name`; raises ValueError for an unknown name.

    `image_size` is the side of square pictures; of clips (F, H, W).
    """
    if name not in _LOADERS:
        raise ValueError(f"Unknown data.name '{name}': there are {', '.join(EMBEDDED)} and prepared.")
    return _LOADERS[name](image_size, split)
