"""From a config to values: base, data, losses, and runs that are read back."""
