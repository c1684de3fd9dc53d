"""Tiny transformers of Stable Diffusion 3 with random weights, and inputs for them and their side networks."""

import torch
from diffusers import SD3Transformer2DModel
from safetensors import safe_open

SD3 = {
    "sample_size": 8,
    "in_channels": 3,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 10,
    "out_channels": 3,
    "pos_embed_max_size": 7,
}
# What comes into norms by these alone is as small as their epsilon where they are.
QUIET = ("pos_embed", "context_embedder", "to_q", "to_k", "add_q_proj", "add_k_proj")
SD35_MEDIUM = SD3 | {"qk_norm": "rms_norm", "dual_attention_layers": [0, 1, 9], "num_layers": 4}


def make(config, randomise):
    """A transformer whose prediction tells epsilons of norms, and which GELU it is: each moves it by 2e-4 or more."""
    model = SD3Transformer2DModel(**config).eval()
    randomise([parameter for name, parameter in model.named_parameters() if "net.0.proj.weight" in name], std=0.5)
    randomise([parameter for name, parameter in model.named_parameters() if "attn" in name and "norm" in name], std=1.0)
    # What a file holds counts, not what the sines would be.
    randomise([model.pos_embed.pos_embed], std=1.0)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if any(part in name for part in QUIET):
                tensor.mul_(1e-3)
    return model


def inputs(config, size, tokens=5):
    return (
        torch.randn(2, config["in_channels"], *size),
        torch.tensor([3.25, 997.0]),
        torch.randn(2, tokens, config["joint_attention_dim"]),
        torch.randn(2, config["pooled_projection_dim"]),
    )


def ours_of(sample, to_jax):
    """The inputs as we take them."""
    x_t, t, tokens, pooled = map(to_jax, sample)
    return x_t, t, {"tokens": tokens, "pooled": pooled}


def tensors(folder):
    (path,) = folder.glob("*.safetensors")
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
