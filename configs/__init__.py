"""Experiments: `lisa_jax COMMAND --config=configs/NAME.py`. Each one imports `base` and changes what it is about."""
