"""From rows to a prepared data set: what `python -m lisa_jax prepare` does."""
