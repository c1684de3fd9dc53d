"""Grids of runs: `lisa_jax study --config=configs/studies/NAME.py`."""
