"""Samplers: one file a method, all of one interface."""
