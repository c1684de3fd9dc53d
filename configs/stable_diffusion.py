"""What the configs of Stable Diffusion share: the LISA authors' recipe, and a smoke size of it. No experiment itself.

The recipe: hook down_5, lam 0.2, AdamW at 1e-5 (betas .9/.999, eps 1e-8, weight decay 1e-2 on everything), constant
after warm-up, one clip at 1.0 over side network and decoder, 10,000 steps of 256 images, no caption dropout, latents
drawn from the VAE's posterior at every step, timesteps uniform; sampling in 20 steps of DPM-Solver++ (2M) at a
guidance of 7.5. Two things are not theirs: bfloat16 in place of fp16 (parameters, gradients and optimizer are float32
in both), and the 500 steps of warm-up, whose number they do not give.
"""

from ml_collections import ConfigDict, config_dict

SMOKE = "smoke"


def recipe(
    *, base: str, tiny: str, data: str, condition: str | tuple[str, ...], image_size: int, smoke: bool
) -> ConfigDict:
    """A config of `lisa_jax train`.

    Args:
      base: name of the Stable Diffusion folder, under `bases/`.
      tiny: preset of `lisa_jax new_base` that the smoke size takes for a base, under `runs/smoke/`.
      data: name of the prepared data set, under `data/` or, for the smoke size, `runs/smoke/`.
      condition: what the side network sees; a tuple: one side network each.
      image_size: side of the images.
      smoke: a few steps of the tiny base at 64 px, on any CPU.
    """
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 256
    config.num_steps = 10_000
    # Microbatches that a batch is split into: the recipe's, 8 images at a time on each of 8 devices.
    config.accumulate = 4
    # Sizes of the mesh's axes; data -1 takes what is left. `fsdp` and `tensor` split parameters and optimizer state.
    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1, "split_frozen": False})
    config.ema_decay = config_dict.placeholder(float)

    config.base = f"bases/{base}"
    config.frozen_dtype = "bfloat16"
    config.compute_dtype = "bfloat16"
    # What the backward pass computes again, for less memory and more time: none, attention (its scores), dots (all but
    # the results of convolutions and matrix products) or full (all but the inputs of blocks).
    config.remat = "none"
    # Implementation of attention: auto (fused on NVIDIA GPUs and TPUs), xla, cudnn or splash.
    config.attention = "auto"
    config.condition_channels = (16, 32, 96, 256)
    # Unset: a copy of the base's encoder. Else a ControlNet folder to go on from, or fewer channels or layers a level.
    config.side = ConfigDict(
        {
            "start_from": config_dict.placeholder(str),
            "block_out_channels": config_dict.placeholder(tuple),
            "layers_per_block": config_dict.placeholder(int),
        }
    )
    config.caption_dropout = 0.0

    # Moments that were cached cannot be mirrored.
    config.data = ConfigDict(
        {"name": "prepared", "dir": f"data/{data}", "image_size": image_size, "condition": condition, "flip": False}
    )
    config.lisa = ConfigDict(
        {
            "lam": 0.2,
            # Several with commas between (down_3,mid): a decoder each, their losses averaged.
            "hook": "down_5",
            "schedule": "constant",
            "decay_steps": config_dict.placeholder(int),
            "stop_step": config_dict.placeholder(int),
            # Align one row of so many, another one each step: a fraction of the cost.
            "align_every": 1,
            # Of the alignment loss by noise level: uniform, likelihood_score, high_noise or low_noise.
            "weighting": "uniform",
            # Factor on the decoder's hidden channels.
            "decoder_width": 1.0,
        }
    )
    config.optimizer = ConfigDict(
        {
            "learning_rate": 1e-5,
            "schedule": "constant",
            "warmup_steps": 500,
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
            "weight_decay": 1e-2,
            "clip_norm": 1.0,
            # How many times the learning rate the alignment decoder has.
            "decoder_rate": 1.0,
        }
    )
    config.sampling = ConfigDict(
        {"sampler": "dpmpp_2m", "num_steps": 20, "guidance_scale": 7.5, "control_scale": 1.0, "batch_size": 8}
    )
    config.preview_count = 8
    config.log_every = 10
    # So often, compare the gradients of both losses on the side network's trunk; unset: never.
    config.diagnostics_every = config_dict.placeholder(int)
    config.eval_every = 500
    config.preview_every = 500
    config.save_every = 500
    config.keep = 2
    if smoke:
        _shrink(config, tiny, data)
    return config


def _shrink(config: ConfigDict, tiny: str, data: str) -> None:
    config.update(batch_size=4, num_steps=4, accumulate=2, base=f"runs/smoke/{tiny}", condition_channels=(4, 8, 8, 16))
    config.update(preview_count=2, log_every=1, eval_every=4, preview_every=4, save_every=2)
    config.data.update(dir=f"runs/smoke/{data}", image_size=64)
    # So large that four steps open the zero convolutions.
    config.optimizer.update(learning_rate=1e-2, warmup_steps=1)
    config.sampling.update(num_steps=2, batch_size=2)


def task_and_size(argument: str, tasks: tuple[str, ...]) -> tuple[str, bool]:
    """Read what follows the colon of `--config=file.py:task[,smoke]`: the task, the first one by default, and smoke.

    Raises:
      ValueError: a word that is neither, or two tasks.
    """
    words = [word for word in argument.split(",") if word]
    found = [word for word in words if word != SMOKE]
    unknown = [word for word in found if word not in tasks]
    if unknown or len(found) > 1:
        raise ValueError(f"Config argument '{argument}': give one of {', '.join(tasks)}, and {SMOKE} after a comma.")
    return (found or [tasks[0]])[0], SMOKE in words
