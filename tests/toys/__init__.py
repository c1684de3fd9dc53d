"""Toys that the tests share: an experiment for the loop, and families in plain JAX that compile in no time."""
