"""What examples and samples are made of, pictures and clips: how they are mirrored, laid out, written and read."""
