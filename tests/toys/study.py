"""A study in a few numbers: base and side networks compile in no time; data are those of $LISA_JAX_DATA, at 16 px."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from configs.studies import base
from lisa_jax.dual_branch import DualBranch, SideNetwork, SideOutput
from lisa_jax.experiments.conditions import condition_names
from lisa_jax.families.family import UNIT_PICTURES, Conditioner, Family
from lisa_jax.families.pixels import PIXELS
from lisa_jax.media.image import IMAGE
from lisa_jax.parallel.sharding import REPLICATED
from lisa_jax.processes import process_of

SCHEDULER = {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}


def apply(params, trunk, x_t, t, context, condition):
    """A tanh feature of x_t and the condition, out through a zero factor."""
    feature = jnp.tanh(x_t * params["trunk"]["x"] + condition * params["trunk"]["c"])
    return SideOutput((feature * params["out"],), {"down": feature**2, "mid": feature})


def init(start, key):
    trunk = {"x": start["w"] * jnp.ones(3), "c": 0.1 * jax.random.normal(key, (3,))}
    return {"trunk": trunk, "out": jnp.zeros(3)}


def toy_base(config, mesh=None):
    """In place of `load_base`: the main network is x_t times a number."""
    width, conditions, frozen = config.lisa.decoder_width, condition_names(config), {"w": jnp.float32(0.7)}
    side = SideNetwork(
        apply,
        init,
        decode=lambda decoder, feature, t, shape: feature * decoder["scale"],
        init_decoder=lambda key, hook: {"scale": jnp.full(3, 0.1 * width)},
        hooks=("down", "mid"),
        trunk=lambda params: {"trunk": params["trunk"]},
    )
    model = DualBranch(
        trunk=lambda frozen, x_t, t, context: x_t,
        predict=lambda frozen, trunk, residuals=None: trunk * frozen["w"] + (0 if residuals is None else residuals[0]),
        sides=dict.fromkeys(conditions, side),
    )
    conditioner = Conditioner(
        dict,
        read=lambda examples: jnp.asarray([[len(example["caption"])] for example in examples], jnp.float32),
        encode=lambda params, lengths: lengths,
        null=lambda context, empty: jnp.broadcast_to(empty, context.shape),
        shapes=jax.ShapeDtypeStruct((1,), jnp.float32),
    )
    return Family(
        model,
        lambda: frozen,
        process_of(SCHEDULER),
        SCHEDULER,
        PIXELS,
        conditioner,
        UNIT_PICTURES,
        IMAGE,
        REPLICATED,
        read_start=lambda: dict.fromkeys(conditions, frozen),
        write_side=None,
        write_main=None,
        check_export=None,
        fingerprint="toy",
    )


def study_config(data: str = "openmoji") -> ConfigDict:
    """A study with a point every two steps, and samples every four."""
    config = base.study(data, "toy", "lowres")
    config.training.update(eval_every=2, preview_every=4, preview_count=4)
    config.training.data.image_size = 16
    config.training.optimizer.warmup_steps = 2
    config.training.sampling.update(num_steps=2, batch_size=4)
    config.sample_at = (2,)
    config.validation.update(draws=2, num_examples=6, probe=3)
    config.save_side = True
    return config
