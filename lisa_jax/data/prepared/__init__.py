"""Data sets that `lisa_jax prepare` wrote: how they lie on disk, and reading them by index."""
