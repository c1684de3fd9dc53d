"""The processes of a run, the device mesh, and where arrays live on it."""
