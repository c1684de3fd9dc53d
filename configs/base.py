"""Every field of `lisa_jax train`, and what it means. No experiment itself: those start from here.

What values a field takes, with their bounds, is in `lisa_jax/experiments/fields.py`; commands check it when they start.

The values are the LISA authors' recipe for a ControlNet beside Stable Diffusion 2.1-base at 512 px. One thing is not
theirs: bfloat16 in place of fp16 (parameters, gradients and optimizer are float32 in both).
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference, placeholder

# One number or a tuple; flags write 512x768.
SIZE = int | tuple


def training() -> ConfigDict:
    """What training a side network (`control`) and training a base (`lisa_jax pretrain`) share."""
    config = ConfigDict()
    config.seed = 0  # of initialisation, batches and noise
    config.batch_size = 256  # of all devices together
    config.num_steps = 10_000  # updates of the parameters
    # Microbatches that a batch is split into, their gradients averaged: here 8 images at a time on each of 8 devices.
    config.accumulate = 4
    config.mesh = mesh()
    config.compute_dtype = "bfloat16"  # of activations: float32 or bfloat16
    # Share of captions that are replaced by the empty one; of several kinds of dropout that of each.
    config.caption_dropout = 0.0
    # Decay of the moving average of the trainable parameters; unset: none is kept.
    config.ema_decay = placeholder(float)
    config.optimizer = optimizer()
    config.log_every = 10  # steps, as for the two below
    config.eval_every = 500  # validation; of a base, previews
    config.save_every = 500  # checkpoints
    config.keep = 2  # so many checkpoints, the newest ones
    # What is told all numbers and previews beside metrics.jsonl: tensorboard, wandb, both or none of them.
    config.trackers = ("tensorboard",)
    return config


def mesh() -> ConfigDict:
    """How devices share the work: the sizes of the mesh's axes, and what is split over them."""
    return ConfigDict(
        {
            "data": -1,  # splits the batch; -1 takes the devices that the others leave
            "fsdp": 1,  # splits the batch, trainable parameters and optimizer state
            "tensor": 1,  # splits trainable parameters and optimizer state
            "split_frozen": False,  # whether the frozen parameters are split, too
        }
    )


def optimizer() -> ConfigDict:
    """What updates the parameters, after one clip of the gradient of all that trains, the decoder included."""
    return ConfigDict(
        {
            # adamw; adafactor (without momentum: next to no memory); lion (half of AdamW's memory; its authors take a
            # rate 3 to 10 times lower, and b2=.99); or sgd with momentum.
            "name": "adamw",
            "learning_rate": 1e-5,  # after warm-up
            "schedule": "constant",  # of it: constant, or linear or cosine to 0
            "schedule_steps": placeholder(int),  # in which it gets there; unset: num_steps
            "warmup_steps": 0,  # in which it rises linearly from 0
            "b1": 0.9,  # decay of the gradient's mean, of sgd the momentum; adafactor has none
            "b2": 0.999,  # decay of the gradient's square, of lion that of the mean it keeps; no other has it
            "eps": 1e-8,  # added to the square's root, by adamw alone
            "weight_decay": 1e-2,  # on all parameters; times the learning rate
            "clip_norm": 1.0,  # largest norm of the gradient
        }
    )


def own_rates() -> dict[str, Any]:
    """Of `optimizer`: rates of the layers that a base has none of, over that of the rest, which is what is logged."""
    return {
        "decoder_rate": 1.0,  # of the alignment decoder
        # Of the side network's fresh layers, of a ControlNet its zero convolutions and its condition's embedding, also
        # where they go on from side.start_from.
        "fresh_rate": 1.0,
        # Which of these: zero_convolutions or condition_embedding; unset: all.
        "fresh_layers": placeholder(str),
        "fresh_steps": placeholder(int),  # in which fresh_rate falls to 1; unset: it stays
    }


def control() -> ConfigDict:
    """Training side networks beside a frozen main network."""
    config = training()
    config.optimizer.update(own_rates())
    # The base: a folder as diffusers has it (one without a VAE works on pixels), a single .safetensors of Stable
    # Diffusion 1, 2 or XL, or owner/name[@revision] of the hub.
    config.base = "bases/stable-diffusion-2-1-base"
    # Another VAE in place of its own, of the same latents: a folder, a .safetensors or a name of the hub; unset: none.
    config.vae = placeholder(str)
    # What the base is to do without though it has it, as text_encoder_3, the T5 of Stable Diffusion 3; unset: nothing.
    config.leave_out = placeholder(str)
    # Its architecture, of lisa_jax.families.presets: for `compile` and `bench` where the base's folder is not at hand.
    config.preset = placeholder(str)
    config.frozen_dtype = "bfloat16"  # of the frozen parameters: float32 or bfloat16
    # What the backward pass computes again, for less memory and more time: none, attention (its scores), dots (all but
    # the results of convolutions and matrix products) or full (all but the inputs of blocks).
    config.remat = "none"
    # Implementation of attention: auto (fused on NVIDIA GPUs and TPUs), xla, cudnn (NVIDIA GPUs) or splash (TPUs).
    config.attention = "auto"
    config.data = data()
    # Widths of the condition's encoder; n of them downsample it by 2^(n-1). Beside a base on pixels each pixel of the
    # condition is repeated to as many before, at that cost; (32,) spares it.
    config.condition_channels = (16, 32, 96, 256)
    config.side = side()
    config.loss = loss()
    config.lisa = lisa()
    # What validation logs, validation/main_loss or that of a quartile of the noise levels (validation/main_loss_q1, the
    # least noise, to _q4): the checkpoint with the smallest stays too, for --weights=best; unset: only the newest ones.
    config.keep_best = placeholder(str)
    config.sampling = sampling()
    config.preview_count = 8  # test examples that previews show
    config.preview_every = 500  # steps, and at the end
    # So often, compare the gradients of both losses on the side network's trunk; unset: never.
    config.diagnostics_every = placeholder(int)
    return config


def data() -> ConfigDict:
    """The data set and what of it the side network sees."""
    return ConfigDict(
        {
            # What `lisa_jax prepare` wrote, or the embedded openmoji, figures, openmoji_video or figures_video.
            "name": "prepared",
            "dir": "data/pose",  # folder of prepared data; embedded data have no such field
            # Side of the images, px; (H, W), as a flag HxW, where they are no squares, (F, H, W) of videos.
            "image_size": FieldReference(512, field_type=SIZE),
            # Name of the condition, or module:function of your own; a tuple: a side network each.
            # `train` notes channels of conditions that have not 3 beside it, as conditioning_channels: {"mask": 1}.
            "condition": "pose",
            "flip": False,  # mirror images at random, which moments that were cached do not allow
        }
    )


def side() -> ConfigDict:
    """How the side network differs from a copy of the base's encoder, as it is here: in nothing."""
    return ConfigDict(
        {
            # Folder of a ControlNet to go on from, or its name on the hub; of several networks name=FOLDER,name=FOLDER.
            "start_from": placeholder(str),
            "block_out_channels": placeholder(tuple),  # fewer channels, level by level
            "layers_per_block": placeholder(int),  # fewer layers a level
            # Of a transformer: blocks that the side network copies; unset: 12, or half of all where that is less.
            "num_layers": placeholder(int),
            # Of a UNet: a Control-LoRA, which trains factors of this rank in place of the copied kernels (64, 128 or
            # 256 are usual) and uses the base's, and so needs a fraction of the memory; unset: the kernels themselves.
            "lora_rank": placeholder(int),
            # Birth of the condition's encoder: zero (its last layer), default (as PyTorch does all layers), or
            # preserving (its last layer zero, the others so large that the condition keeps its power on the way).
            "condition_init": "zero",
            # Size at birth of the layers through which residuals leave, over PyTorch's default; 0: zero convolutions.
            "zero_convolution_scale": 0.0,
        }
    )


def loss() -> ConfigDict:
    """The main loss, of the network's prediction."""
    return ConfigDict(
        {
            # What it compares: network (its output with its target: the noise, v, the velocity) or x0 (the data that
            # the output implies with the data; the alignment decoder regresses the gap in the same space).
            "space": "network",
            # Of it by noise level: uniform, min_snr (of a diffusion), sigma_sqrt or cosmap (of a rectified flow).
            "weighting": "uniform",
            "min_snr_gamma": 5.0,  # bound on the signal-to-noise ratio in min_snr
            # Noise levels that training draws: usual (as the base's noise process has them) or uniform (of a rectified
            # flow, in place of logit-normal: diffusers' script does so with sigma_sqrt and cosmap).
            "times": "usual",
        }
    )


def lisa() -> ConfigDict:
    """The alignment loss."""
    return ConfigDict(
        {
            "lam": 0.2,  # its weight; 0: plain training
            # Feature of the side network that the decoder reads. Several with commas between (down_3,mid): a decoder
            # each, their losses averaged.
            "hook": "down_5",
            "schedule": "constant",  # of lam: constant, linear or cosine
            "decay_steps": placeholder(int),  # in which a linear or cosine schedule brings it to 0
            "stop_step": placeholder(int),  # from here on there is no alignment; unset: never
            # Align one row of so many, another one each step: a fraction of the cost.
            "align_every": 1,
            # Of the alignment loss by noise level: uniform, likelihood_score, high_noise or low_noise.
            "weighting": "uniform",
            "decoder_width": 1.0,  # factor on the decoder's hidden channels
        }
    )


def sampling() -> ConfigDict:
    """How previews are drawn, and what `sample` and `evaluate` do unless told otherwise."""
    return ConfigDict(
        {
            "sampler": "dpmpp_2m",  # ddim, euler or dpmpp_2m
            "num_steps": 20,  # evaluations of the network an image
            "guidance_scale": 7.5,  # towards the caption; 1: none
            "control_scale": 1.0,  # factor on what the side network adds
            "batch_size": 8,  # examples at a time; changes no image
        }
    )
