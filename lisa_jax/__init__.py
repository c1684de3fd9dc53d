"""lisa_jax: controllable generation in JAX, with Likelihood Score Alignment (LISA, arXiv 2606.27192)."""

from pathlib import Path

# Commands lie in a folder of their own, but `python -m lisa_jax.train`, as scripts have called them, goes on working.
__path__.append(str(Path(__file__).parent / "commands"))
