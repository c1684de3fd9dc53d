"""lisa_jax: controllable generation in JAX, with Likelihood Score Alignment (LISA, arXiv 2606.27192)."""
