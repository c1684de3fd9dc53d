"""Ahead-of-time proof: compile the real training step for machines that are not there, and say what it would cost."""
