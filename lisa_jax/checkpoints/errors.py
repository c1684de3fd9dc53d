"""What is raised for a checkpoint that cannot be used."""


class CheckpointError(ValueError):
    """A checkpoint that is missing something, or whose tensors do not fit the model that its config describes."""
