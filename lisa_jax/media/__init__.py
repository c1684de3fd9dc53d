"""What examples and samples are made of, pictures so far: how they are mirrored, laid out, written and read."""
