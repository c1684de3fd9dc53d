"""Where the parameters of UNet, ControlNet, alignment decoder, VAE and text encoder go on a mesh."""

from jax.sharding import PartitionSpec as P

# `fsdp` splits a kernel's inputs and `tensor` its outputs. Maps that end an attention or a feed-forward are split the
# other way round, so that what lies between them stays split over `tensor`. Vectors and embeddings are copied.
RULES: tuple[tuple[str, P], ...] = (
    (r"(to_out_0|net_2|out_proj|fc2)/kernel$", P("tensor", "fsdp")),
    (r"kernel$", P("fsdp", "tensor")),
    (r"(bias|scale|embedding)$", P()),
)
