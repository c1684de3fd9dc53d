"""Conditions: what side networks see, computed from examples."""
