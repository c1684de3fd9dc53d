"""Networks that measure pictures."""
