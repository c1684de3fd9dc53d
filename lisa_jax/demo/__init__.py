"""A page in the browser to try trained side networks: draw or upload a condition, and see what it does."""
