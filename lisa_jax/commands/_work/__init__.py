"""What commands do once their flags are read, a file each: these import jax, which takes seconds."""
