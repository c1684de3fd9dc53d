"""The embedded base: a small text-conditional UNet on OpenMoji at 32 px, v-prediction, trained from scratch.

    python -m lisa_jax pretrain --config=configs/openmoji_base.py --workdir=runs/openmoji_base

5,000 steps of 16 drawings: 62 minutes on two CPU cores that had other work to do; the main loss ends at .107, which is
.12 of the target's power. Writes the folder runs/openmoji_base/base; the one that ships as
lisa_jax/assets/openmoji_base was made so.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import base


def get_config() -> ConfigDict:
    """Config of `lisa_jax pretrain`."""
    config = base.training()
    config.update(batch_size=16, num_steps=5000, accumulate=1, compute_dtype="float32")
    config.update(caption_dropout=0.1, ema_decay=0.998, log_every=50, eval_every=1000)
    config.optimizer.update(learning_rate=1e-3, schedule="cosine", warmup_steps=200, b2=0.99)
    config.data = ConfigDict({"name": "openmoji", "image_size": 32, "flip": True})
    config.unet = ConfigDict(
        {
            "block_out_channels": (32, 64, 128),
            "cross_attention_levels": (False, False, True),
            "layers_per_block": 1,
            "heads": (1, 2, 4),
            "norm_num_groups": 8,
        }
    )
    # The text encoder is fixed at random: the UNet learns to read it.
    config.text = ConfigDict({"vocab_size": 1500, "max_length": 16, "width": 64, "layers": 1, "heads": 4})
    config.scheduler = ConfigDict({"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"})
    config.sampling = ConfigDict({"num_steps": 30, "guidance_scale": 3.0, "count": 32})
    return config
