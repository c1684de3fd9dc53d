"""Short clips of the people of `figures` as they move, with exact key points and part labels; needs no download."""

from lisa_jax.data.embedded.figures_video.source import load_figures_video

__all__ = ["load_figures_video"]
