"""A study in a few numbers: the data are real, small OpenMoji; base and side networks compile in no time."""

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from configs.studies import base
from lisa_jax.dual_branch import DualBranch, SideNetwork, SideOutput
from lisa_jax.experiments.conditions import condition_names
from lisa_jax.families.family import UNIT_PICTURES, Conditioner, Family
from lisa_jax.families.pixels import PIXELS
from lisa_jax.media.image import IMAGE
from lisa_jax.parallel.sharding import REPLICATED
from lisa_jax.processes import process_of
from lisa_jax.studies.laboratory import Laboratory

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


@pytest.fixture(scope="package")
def toy_config():
    """(data set) -> config of a study with a point every two steps, samples every four."""

    def make(data: str = "openmoji") -> ConfigDict:
        config = base.study(data, "toy", "lowres")
        config.training.update(eval_every=2, preview_every=4, preview_count=4, compute_dtype="float32")
        config.training.data.image_size = 16
        config.training.optimizer.warmup_steps = 2
        config.training.sampling.update(num_steps=2, batch_size=4)
        config.sample_at = (2,)
        config.validation.update(draws=2, num_examples=6, probe=3)
        config.save_side = True
        return config

    return make


@pytest.fixture(scope="package")
def new_laboratory(toy_config, tiny_data):
    """() -> a laboratory of toys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LISA_JAX_DATA", str(tiny_data))
        yield lambda: Laboratory(toy_config(), toy_base)


@pytest.fixture(scope="package")
def laboratory(new_laboratory):
    """One that tests share."""
    return new_laboratory()
