"""The smallest networks of Stable Video Diffusion, with diffusers' own classes and random weights."""

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

# Two levels, the coarser one without attention; diffusers' norms have 32 groups whatever a config says.
SMALLEST = {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    "layers_per_block": 1,
    "num_attention_heads": (2, 4),
    "cross_attention_dim": 12,
    "addition_time_embed_dim": 6,
    "projection_class_embeddings_input_dim": 18,
    "num_frames": 3,
}


def make_unet(randomise, **fields):
    """A UNet whose norms and blends are no ones and zeros, and no halves."""
    model = UNetSpatioTemporalConditionModel(**(SMALLEST | fields)).eval()
    randomise([one for name, one in model.named_parameters() if "norm" in name or "mix_factor" in name], std=1.0)
    return model


def video_inputs(config, frames, size, rows=2):
    """Noisy latents (n, f, c, h, w), times, and the parts of a context, as torch tensors."""
    x_t = torch.randn(rows, frames, config["out_channels"], *size)
    context = {
        "image_embeds": torch.randn(rows, 1, config["cross_attention_dim"]),
        "image_latents": torch.randn(rows, config["in_channels"] - config["out_channels"], *size),
        "time_ids": torch.tensor([[6.0, 127.0, 0.02], [24.0, 30.0, 0.4]])[:rows],
    }
    return x_t, torch.tensor([-1.5, 0.8])[:rows], context


def beside_first_frame(x_t, context):
    """What the pipeline gives a UNet to see."""
    return torch.cat([x_t, context["image_latents"][:, None].expand(-1, x_t.shape[1], -1, -1, -1)], dim=2)


def encoded(network, x, t, context, embedded=0.0):
    """(skips, mid) of diffusers' blocks as its UNet of videos runs them; `embedded` is added after conv_in."""
    rows, frames = x.shape[:2]
    ids = network.add_time_proj(context["time_ids"].flatten()).reshape(rows, -1)
    emb = (network.time_embedding(network.time_proj(t)) + network.add_embedding(ids)).repeat_interleave(frames, 0)
    inputs = {
        "temb": emb,
        "image_only_indicator": torch.zeros(rows, frames),
        "encoder_hidden_states": context["image_embeds"].repeat_interleave(frames, 0),
    }
    hidden = network.conv_in(x.flatten(0, 1)) + embedded
    after, skips = [], (hidden,)
    for block in network.down_blocks:
        taken = inputs if hasattr(block, "attentions") else {k: v for k, v in inputs.items() if "encoder" not in k}
        hidden, outputs = block(hidden, **taken)
        skips += outputs
        after.append(len(skips))
    return skips, network.mid_block(hidden, **inputs), inputs, after


class TorchTemporalControlNet(torch.nn.Module):
    """A ControlNet of videos of diffusers' parts: the copied encoder, the condition's encoder, zero convolutions."""

    def __init__(self, unet, condition_channels):
        super().__init__()
        copy = UNetSpatioTemporalConditionModel.from_config(unet.config)
        copy.load_state_dict(unet.state_dict())
        for name in ("conv_in", "time_proj", "time_embedding", "add_time_proj", "add_embedding", "down_blocks"):
            setattr(self, name, getattr(copy, name))
        self.mid_block = copy.mid_block
        widths = copy.config.block_out_channels
        self.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            widths[0], block_out_channels=condition_channels
        )
        down = [widths[0]]
        for level, width in enumerate(widths):
            down += [width] * (copy.config.layers_per_block + (level < len(widths) - 1))
        self.controlnet_down_blocks = torch.nn.ModuleList(torch.nn.Conv2d(width, width, 1) for width in down)
        self.controlnet_mid_block = torch.nn.Conv2d(widths[-1], widths[-1], 1)

    def forward(self, x_t, t, context, condition):
        """Residuals of every skip, (n f, c, h, w), and of the mid block; the features that they are made of."""
        embedded = self.controlnet_cond_embedding(condition.flatten(0, 1))
        skips, mid, *_ = encoded(self, beside_first_frame(x_t, context), t, context, embedded)
        down = [convolution(skip) for convolution, skip in zip(self.controlnet_down_blocks, skips, strict=True)]
        return (*down, self.controlnet_mid_block(mid)), (*skips, mid)


def controlled(unet, x_t, t, context, residuals, *, in_every_block):
    """The UNet's prediction with residuals: added once after the encoder, or after every down block to all skips."""
    x = beside_first_frame(x_t, context)
    rows, frames = x.shape[:2]
    skips, hidden, inputs, after = encoded(unet, x, t, context)
    *down, mid = residuals
    skips = list(skips)
    for there in after if in_every_block else [len(skips)]:
        for index in range(there):
            skips[index] = skips[index] + down[index]
    hidden = hidden + mid
    for block in unet.up_blocks:
        count = len(block.resnets)
        skips, used = skips[:-count], skips[-count:]
        taken = inputs if hasattr(block, "attentions") else {k: v for k, v in inputs.items() if "encoder" not in k}
        size = skips[-1].shape[2:] if skips else None
        hidden = block(hidden, res_hidden_states_tuple=tuple(used), upsample_size=size, **taken)
    hidden = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
    return hidden.reshape(rows, frames, *hidden.shape[1:])


def channels_last(video):
    """(n, f, c, h, w) of torch -> (n, f, h, w, c) of numpy."""
    return video.detach().numpy().transpose(0, 1, 3, 4, 2)
