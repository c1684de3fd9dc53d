"""What can be wrong with records on disk, whichever data set they belong to."""


class CorruptRecordError(Exception):
    """A stored record cannot be read back."""
