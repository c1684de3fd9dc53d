"""A ControlNet for line art on OpenMoji at 32 px beside the embedded base, with the LISA loss.

    python -m lisa_jax train --config=configs/openmoji_lineart.py --workdir=runs/lineart

400 steps of 16 drawings: about 5 minutes on two CPU cores. Expect a validation loss of .056 and, from
`lisa_jax evaluate`, a line-art F1 of .84 with control against .15 without (no pixel off; real drawings reach .91).
Plain ControlNet training, for comparison: add --config.lisa.lam=0.
"""

from pathlib import Path

from ml_collections import ConfigDict, config_dict

import lisa_jax


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 16
    config.num_steps = 400
    # Microbatches that a batch is split into, their gradients averaged.
    config.accumulate = 1
    # Sizes of the mesh's axes; data -1 takes what is left. `fsdp` and `tensor` split parameters and optimizer state.
    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1, "split_frozen": False})
    # Decay of the moving average of the trainable parameters; unset: none is kept.
    config.ema_decay = config_dict.placeholder(float)

    # A Stable Diffusion folder of diffusers without a VAE; this one ships with the package.
    config.base = str(Path(lisa_jax.__file__).parent / "assets" / "openmoji_base")
    config.frozen_dtype = "float32"
    config.compute_dtype = "float32"
    # What the backward pass computes again, for less memory and more time: none, attention (its scores), dots (all but
    # the results of convolutions and matrix products) or full (all but the inputs of blocks).
    config.remat = "none"
    # Widths of the condition's encoder; n of them downsample it by 2^(n-1). Stable Diffusion: (16, 32, 96, 256).
    config.condition_channels = (32,)
    # Unset: a copy of the base's encoder. Else a ControlNet folder to go on from, or fewer channels or layers a level.
    config.side = ConfigDict(
        {
            "start_from": config_dict.placeholder(str),
            "block_out_channels": config_dict.placeholder(tuple),
            "layers_per_block": config_dict.placeholder(int),
        }
    )
    # Implementation of attention: auto, xla, cudnn (NVIDIA GPUs) or splash (TPUs).
    config.attention = "auto"
    config.caption_dropout = 0.0

    config.data = ConfigDict({"name": "openmoji", "image_size": 32, "condition": "lineart", "flip": True})
    config.lisa = ConfigDict(
        {
            "lam": 0.2,
            # Several with commas between (down_3,mid): a decoder each, their losses averaged.
            "hook": "down_3",
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
            "learning_rate": 1e-3,
            "schedule": "constant",
            "warmup_steps": 20,
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
            "weight_decay": 1e-2,
            "clip_norm": 1.0,
            # How many times the learning rate the alignment decoder has.
            "decoder_rate": 1.0,
        }
    )
    config.sampling = ConfigDict({"sampler": "ddim", "num_steps": 20, "guidance_scale": 2.0, "control_scale": 1.0})
    config.preview_count = 16
    config.log_every = 10
    # So often, compare the gradients of both losses on the side network's trunk; unset: never.
    config.diagnostics_every = config_dict.placeholder(int)
    config.eval_every = 100
    config.preview_every = 100
    config.save_every = 100
    config.keep = 3
    return config
