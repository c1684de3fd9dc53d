"""The training step of the LISA paper in PyTorch with diffusers, timed: what lisa_jax's step is compared with.

    python benchmarks/torch_reference.py --batch=32 --passes=full

A step is written as one would with diffusers: frozen UNet in bfloat16, ControlNet and alignment decoder in float32
under autocast, `scaled_dot_product_attention`, one gradient clip, fused AdamW; latents and text are cached, as in
lisa_jax. `--passes=full` is the released script's way, a second full pass of the UNet without control; `--passes=plain`
is ControlNet training without LISA. `--dtype=float32` does without autocast. Weights are random: only speed and memory
are measured. Prints one line of JSON.

torch and diffusers are needed; JAX and lisa_jax are not.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

SIZES = {
    # Stable Diffusion 2.1 at 512: latents of 64 x 64, text 77 x 1024, conditions of 512 x 512.
    "sd21": {
        "unet": {
            "sample_size": 64,
            "attention_head_dim": [5, 10, 20, 20],
            "cross_attention_dim": 1024,
            "use_linear_projection": True,
        },
        "hook": 5,
        "text_length": 77,
        "upsamplings": 1,
        "latent_size": 64,
        "condition_size": 512,
        "condition_channels": (16, 32, 96, 256),
    },
    # The sizes of the base that ships with lisa_jax, on pixels.
    "embedded": {
        "unet": {
            "sample_size": 32,
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": [32, 64, 128],
            "down_block_types": ["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
            "layers_per_block": 1,
            "attention_head_dim": [1, 2, 4],
            "norm_num_groups": 8,
            "cross_attention_dim": 64,
            "use_linear_projection": True,
        },
        "hook": 3,
        "text_length": 16,
        "upsamplings": 1,
        "latent_size": 32,
        "condition_size": 32,
        "condition_channels": (32,),
    },
}
LAM = 0.2
CLIP_NORM = 1.0


class AlignmentDecoder(torch.nn.Module):
    """Feature plus projected time, then conv, SiLU, nearest x2 up to the latents, then a zero convolution."""

    def __init__(self, channels: int, upsamplings: int, out_channels: int):
        super().__init__()
        self.time_proj = torch.nn.Linear(256, channels)
        self.upsamplings = upsamplings
        self.convs = torch.nn.ModuleList()
        for stage in range(max(upsamplings, 1)):
            narrowed = max(channels // 2, 64 if upsamplings else min(channels, 64))
            kernel = 1 if stage == 0 and upsamplings and channels >= 512 else 3
            self.convs.append(torch.nn.Conv2d(channels, narrowed, kernel, padding=kernel // 2))
            channels = narrowed
        self.conv_out = torch.nn.Conv2d(channels, out_channels, 3, padding=1)
        torch.nn.init.zeros_(self.conv_out.weight)
        torch.nn.init.zeros_(self.conv_out.bias)

    def forward(self, feature: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """feature: (n, c, h, w); t: (n,). Returns (n, out_channels, H, W)."""
        steps = torch.arange(128, device=t.device)
        angles = t[:, None].float() * torch.exp(-math.log(10_000) * steps / 128)
        time_features = torch.nn.functional.silu(self.time_proj(torch.cat([angles.cos(), angles.sin()], dim=-1)))
        hidden = feature + time_features[:, :, None, None]
        for conv in self.convs:
            hidden = torch.nn.functional.silu(conv(hidden))
            if self.upsamplings:
                hidden = torch.nn.functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
        return self.conv_out(hidden)


def make_networks(size: str) -> tuple[UNet2DConditionModel, ControlNetModel, AlignmentDecoder]:
    """Main network, side network and alignment decoder of a size."""
    settings = SIZES[size]
    unet = UNet2DConditionModel(**settings["unet"])
    controlnet = ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=settings["condition_channels"], load_weights_from_unet=False
    )
    channels = controlnet.controlnet_down_blocks[settings["hook"]].in_channels
    return unet, controlnet, AlignmentDecoder(channels, settings["upsamplings"], unet.config.in_channels)


def make_step(
    size: str, batch: int, passes: str, dtype: torch.dtype, device: str, channels_last: bool, compiled: bool
) -> Callable:
    """Build the networks and one batch of noise; the function returned runs a training step and returns its loss."""
    settings = SIZES[size]
    latent, image, hook = settings["latent_size"], settings["condition_size"], settings["hook"]
    with torch.device(device):
        unet, controlnet, decoder = make_networks(size)
        unet.requires_grad_(False).to(dtype)
        latents = torch.randn(batch, unet.config.in_channels, latent, latent)
        context = torch.randn(batch, settings["text_length"], unet.config.cross_attention_dim, dtype=dtype)
        condition = torch.randint(0, 256, (batch, 3, image, image), dtype=torch.uint8)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        alpha_bar = torch.cumprod(1 - betas, dim=0)
    if channels_last:
        unet, controlnet, decoder = (net.to(memory_format=torch.channels_last) for net in (unet, controlnet, decoder))
        latents, condition = (x.to(memory_format=torch.channels_last) for x in (latents, condition))
    feature = {}
    zero_conv = controlnet.controlnet_down_blocks[hook]
    zero_conv.register_forward_pre_hook(lambda _, inputs: feature.update(hooked=inputs[0]))
    trainable = [*controlnet.parameters(), *(decoder.parameters() if passes != "plain" else ())]
    optimizer = torch.optim.AdamW(trainable, lr=1e-5, weight_decay=1e-2, fused=device == "cuda")

    autocast = partial(torch.autocast, device, torch.bfloat16, enabled=dtype == torch.bfloat16)

    def forward() -> torch.Tensor:
        t = torch.randint(0, 1000, (batch,), device=device)
        noise = torch.randn_like(latents)
        a = alpha_bar[t][:, None, None, None]
        x_t = a.sqrt() * latents + (1 - a).sqrt() * noise
        with autocast():
            down, mid = controlnet(x_t, t, context, controlnet_cond=condition.float() / 255.0, return_dict=False)
            prediction = unet(
                x_t,
                t,
                context,
                down_block_additional_residuals=down,
                mid_block_additional_residual=mid,
                return_dict=False,
            )[0]
        loss = torch.nn.functional.mse_loss(prediction.float(), noise)
        if passes == "plain":
            return loss
        with torch.no_grad(), autocast():
            prior = unet(x_t, t, context, return_dict=False)[0]
        with autocast():
            aligned = decoder(feature["hooked"], t)
        return loss + LAM * torch.nn.functional.mse_loss(aligned.float(), noise - prior.float())

    run = torch.compile(forward) if compiled else forward

    def step() -> torch.Tensor:
        loss = run()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def measure(step: Callable, warmup: int, steps: int, device: str) -> list[float]:
    """Seconds of each of `steps` steps, after `warmup` others."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times = []
    for index in range(warmup + steps):
        start = time.perf_counter()
        step()
        wait()
        if index >= warmup:
            times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="sd21")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--passes", choices=("full", "plain"), default="full")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--channels_last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(0)
    step = make_step(
        arguments.size,
        arguments.batch,
        arguments.passes,
        getattr(torch, arguments.dtype),
        device,
        arguments.channels_last,
        arguments.compile,
    )
    times = measure(step, arguments.warmup, arguments.steps, device)
    result = {
        "framework": f"torch {torch.__version__}",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        **vars(arguments),
        "images_per_second": arguments.batch * len(times) / sum(times),
        "step_ms_median": 1e3 * statistics.median(times),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
