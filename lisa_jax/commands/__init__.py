"""The commands, one file of flags each: `lisa_jax NAME`, or `python -m lisa_jax NAME`."""
