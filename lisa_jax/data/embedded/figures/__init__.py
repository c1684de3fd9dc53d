"""Articulated people among simple solids, rendered with exact depth, key points and part labels; needs no download."""

from lisa_jax.data.embedded.figures.source import load_figures

__all__ = ["load_figures"]
