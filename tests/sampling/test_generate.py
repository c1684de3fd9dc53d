"""Samples of a family: what an image depends on, and what it does not."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from toy_family import SIZE, examples, make_family, sampled_on_all_devices

from lisa_jax.families.composed import compose
from lisa_jax.sampling.generate import make_generator


@pytest.fixture(scope="module")
def family():
    return make_family()


@pytest.fixture
def side():
    return {"gain": jnp.float32(1.0)}


@pytest.fixture
def inputs(family):
    return examples(family, 5)


def generate(family, side, inputs, seed=0, settings=None, **arguments):
    generator = make_generator(family, **({"num_steps": 3, "guidance_scale": 2.0} | (settings or {})))
    return generator(family.frozen, family.latents.params, side, *inputs, seed, **arguments)


def difference(images, others):
    return np.abs(images.astype(int) - others.astype(int))


def test_image_depends_on_its_own_index_seed_and_inputs_alone(family, side, inputs):
    together = generate(family, side, inputs, 3)
    # One grey level: batches of another size are other programs, whose last bits may differ.
    assert difference(together, generate(family, side, inputs, 3, {"batch_size": 2})).max() <= 1
    assert difference(together[3:], generate(family, side, [part[3:] for part in inputs], 3)).max() <= 1
    assert difference(together, generate(family, side, inputs, 4)).mean() > 5


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m"])
def test_control_scale_zero_is_no_control(family, side, inputs, sampler):
    settings = {"sampler": sampler}
    none = generate(family, None, inputs, settings=settings)
    assert difference(none, generate(family, side, inputs, settings=settings | {"control_scale": 0.0})).max() <= 1
    full = generate(family, side, inputs, settings=settings)
    assert difference(none, full).mean() > 1
    half = difference(none, generate(family, side, inputs, settings=settings | {"control_end": 0.5}))
    assert 0 < half.mean() < difference(none, full).mean()


def test_caption_matters_more_with_guidance(family, inputs):
    context, condition, indices = inputs
    empty = (np.repeat(family.encode_text([""]), len(context), 0), condition, indices)

    def distance(scale):
        settings = {"guidance_scale": scale}
        return difference(
            generate(family, None, inputs, settings=settings), generate(family, None, empty, settings=settings)
        ).mean()

    assert distance(6.0) > distance(1.0) > 0


def test_negative_prompt_takes_the_place_of_the_empty_one(family, inputs):
    context = family.encode_text(["dog"])
    named = generate(family, None, inputs, settings={"negative_prompt": "dog"})
    np.testing.assert_array_equal(named, generate(family, None, inputs, negative_context=context))
    assert difference(named, generate(family, None, inputs)).mean() > 0.1


def test_given_noise_takes_the_place_of_the_seed(family, side, inputs):
    x_T = np.random.default_rng(1).standard_normal((5, SIZE, SIZE, 3)).astype(np.float32)
    images = generate(family, side, inputs, 0, x_T=x_T)
    np.testing.assert_array_equal(images, generate(family, side, inputs, 1, x_T=x_T))
    generator = make_generator(family, num_steps=3, guidance_scale=2.0)
    latents = generator.latents(family.frozen, side, *inputs, x_T=x_T)
    decoded = np.asarray(family.latents.decode(family.latents.params, latents))
    assert latents.dtype == np.float32 and difference(decoded, images).max() <= 1


def test_several_side_networks_have_a_condition_and_a_scale_each(family, side, inputs):
    context, condition, indices = inputs
    models = {"edges": family.model, "depth": family.model}
    sides = {"edges": side, "depth": {"gain": jnp.float32(-0.5)}}
    both = (context, {"edges": condition, "depth": condition[::-1]}, indices)

    def apart(**settings):
        return generate(family, sides, both, settings=settings | {"models": models})

    alone = apart(control_scale={"edges": 1.0, "depth": 0.0})
    assert difference(alone, generate(family, side, inputs)).max() <= 1
    assert difference(alone, apart()).mean() > 1
    # Trained together they are sampled alike.
    composed = dataclasses.replace(family, model=compose(models))
    together = generate(composed, sides, both, settings={"control_scale": {"edges": 0.7, "depth": 0.2}})
    assert difference(together, apart(control_scale={"edges": 0.7, "depth": 0.2})).max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"control_scale": (1.0, 0.5)}, "control_scale is .* numbers by name for edges, depth"),
        ({"control_end": {"edges": 1.0}}, "control_end is .* numbers by name for edges, depth"),
        ({"control_start": 0.8, "control_end": 0.3}, "control_start is 0.8 and control_end 0.3"),
        ({"sampler": "heun"}, "use ddim or euler or dpmpp_2m"),
        ({"guidance_scale": 1.0, "negative_prompt": "dog"}, "negative_prompt does nothing"),
    ],
)
def test_impossible_settings_are_refused(family, settings, message):
    models = {"edges": family.model, "depth": family.model}
    with pytest.raises(ValueError, match=message):
        make_generator(family, **({"num_steps": 3, "guidance_scale": 2.0, "models": models} | settings))


def test_side_networks_under_other_names_are_refused(family, side, inputs):
    models = {"edges": family.model, "depth": family.model}
    with pytest.raises(ValueError, match="Side networks are edges, but must be by name: edges, depth"):
        generate(family, {"edges": side}, inputs, settings={"models": models})


def test_number_of_devices_changes_no_image(command_env, fake_devices, tmp_path):
    out = tmp_path / "images.npy"
    program = "import sys, numpy, jax; from toy_family import sampled_on_all_devices as sampled; "
    program += "assert jax.device_count() == 4; numpy.save(sys.argv[1], sampled())"
    env = command_env | fake_devices(4)
    env["PYTHONPATH"] += f":{Path(__file__).parent}"
    done = subprocess.run([sys.executable, "-c", program, str(out)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(out)
    assert found.shape == (6, SIZE, SIZE, 3) and difference(found, sampled_on_all_devices()).max() <= 1
