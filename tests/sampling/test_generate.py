"""Samples of a family: what an image depends on, and what it does not."""

import dataclasses
import logging
import subprocess
import sys

import jax
import numpy as np
import pytest
from toys import image
from toys.image import SIZE, side_params
from toys.samples import examples, samples

from lisa_jax.experiments.previews import previews
from lisa_jax.sampling import generate as generate_module
from lisa_jax.sampling.generate import make_generator
from lisa_jax.sampling.generator import NonFiniteSampleError


@pytest.fixture(scope="module")
def family():
    return image.family()


@pytest.fixture(scope="module")
def two():
    """The family with two side networks."""
    return image.family(("edges", "depth"))


@pytest.fixture
def side():
    return {"edges": side_params(x_t=0.1, out=1.0)}


@pytest.fixture
def inputs():
    return examples(5)


def generate(family, side, inputs, seed=0, settings=None, **arguments):
    generator = make_generator(family, **({"num_steps": 3, "guidance_scale": 2.0} | (settings or {})))
    return generator(family.frozen, family.latents.params, side, *inputs, seed, **arguments)


def difference(images, others):
    return np.abs(images.astype(int) - others.astype(int))


def test_image_depends_on_its_own_index_seed_and_inputs_alone(family, side, inputs):
    together = generate(family, side, inputs, 3)
    # One grey level: batches of another size are other programs, whose last bits may differ.
    assert difference(together, generate(family, side, inputs, 3, {"batch_size": 2})).max() <= 1
    last = jax.tree.map(lambda part: part[3:], inputs)
    assert difference(together[3:], generate(family, side, last, 3)).max() <= 1
    assert difference(together, generate(family, side, inputs, 4)).mean() > 5


def test_guess_mode_is_refused_of_a_family_whose_pipelines_have_none(family):
    with pytest.raises(ValueError, match=r"guess_mode is true, but .* have no guess mode: leave it at false"):
        make_generator(family, num_steps=1, guidance_scale=1.0, guess_mode=True)
    make_generator(dataclasses.replace(family, guess_mode=True), num_steps=1, guidance_scale=1.0, guess_mode=True)


@pytest.mark.parametrize("setting", [{"min_guidance_scale": 1.0}, {"decode_chunk": 14}], ids=str)
def test_what_is_of_frames_is_refused_of_images(family, setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is of videos"):
        make_generator(family, num_steps=1, guidance_scale=3.0, **setting)


def test_the_sampler_knows_what_the_network_reads_as_one_token(family, monkeypatch):
    given = []
    monkeypatch.setattr(generate_module, "make_sampler", lambda *arguments: given.append(arguments))
    make_generator(dataclasses.replace(family, patch_size=2), sampler="euler", num_steps=3, guidance_scale=1.0)
    assert given == [("euler", family.process, family.scheduler, 3, 2)]


def test_other_scales_of_control_and_guidance_compile_nothing(two, side, inputs, caplog):
    caplog.set_level(logging.INFO, "lisa_jax")
    context, conditions, indices = inputs
    sides = side | {"depth": side_params(condition=-0.5, x_t=0.1, out=1.0)}
    inputs = (context, conditions | {"depth": 255 - conditions["edges"]}, indices)
    settings = {"num_steps": 2, "guidance_scale": 2.0}
    scale = {"edges": 0.4, "depth": 1.3}
    generator = make_generator(two, **settings)
    before = generator(two.frozen, two.latents.params, sides, *inputs)
    assert caplog.messages
    caplog.clear()
    for wanted in ({"control_scale": scale, "guidance_scale": 2.0}, {"control_scale": 1.0, "guidance_scale": 4.5}):
        scaled = generator.with_scales(**wanted)(two.frozen, two.latents.params, sides, *inputs)
        assert not caplog.messages
        np.testing.assert_array_equal(scaled, generate(two, sides, inputs, settings=settings | wanted))
        assert difference(scaled, before).mean() > 1
        caplog.clear()
    with pytest.raises(ValueError, match=r"control_scale is .* for depth, edges"):
        generator.with_scales({"edges": 1.0}, 2.0)
    with pytest.raises(ValueError, match=r"guidance_scale is 1.0 and was 2.0: .* make another generator"):
        generator.with_scales(scale, 1.0)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m"])
def test_control_scale_zero_is_no_control(family, side, inputs, sampler):
    settings = {"sampler": sampler}
    none = generate(family, None, inputs, settings=settings)
    assert difference(none, generate(family, side, inputs, settings=settings | {"control_scale": 0.0})).max() <= 1
    full = generate(family, side, inputs, settings=settings)
    assert difference(none, full).mean() > 1
    half = difference(none, generate(family, side, inputs, settings=settings | {"control_end": 0.5}))
    assert 0 < half.mean() < difference(none, full).mean()


def test_a_sample_of_nan_is_named_and_not_shown_as_black(family, side, inputs, caplog):
    context, condition, indices = inputs
    context = np.array(context)
    context[2] = np.nan
    with pytest.raises(NonFiniteSampleError, match=f"^Sample {indices[2]} holds what is no number"):
        generate(family, side, (context, condition, indices))
    logging.getLogger("lisa_jax").propagate = True
    shown = previews(lambda params, frozen: generate(family, side, (context, condition, indices)), family.medium)
    assert not shown({}, {}).images and f"no preview: Sample {indices[2]}" in caplog.text


def test_caption_matters_more_with_guidance(family, inputs):
    context, condition, indices = inputs
    empty = (np.repeat(family.conditioner.empty, len(context), 0), condition, indices)

    def distance(scale):
        settings = {"guidance_scale": scale}
        return difference(
            generate(family, None, inputs, settings=settings), generate(family, None, empty, settings=settings)
        ).mean()

    assert distance(6.0) > distance(1.0) > 0


def test_negative_prompt_takes_the_place_of_the_empty_one(family, inputs):
    context = family.conditioner.contexts([{"caption": "dog"}])
    named = generate(family, None, inputs, settings={"negative_prompt": "dog"})
    np.testing.assert_array_equal(named, generate(family, None, inputs, negative_context=context))
    assert difference(named, generate(family, None, inputs)).mean() > 0.1


def test_given_noise_takes_the_place_of_the_seed(family, side, inputs):
    x_T = np.random.default_rng(1).standard_normal((5, SIZE, SIZE, 3)).astype(np.float32)
    images = generate(family, side, inputs, 0, x_T=x_T)
    np.testing.assert_array_equal(images, generate(family, side, inputs, 1, x_T=x_T))
    generator = make_generator(family, num_steps=3, guidance_scale=2.0)
    latents = generator.latents(family.frozen, family.latents.params, side, *inputs, x_T=x_T)
    decoded = np.asarray(family.latents.decode(family.latents.params, latents))
    assert latents.dtype == np.float32 and difference(decoded, images).max() <= 1


def test_several_side_networks_have_a_condition_and_a_scale_each(family, two, side, inputs):
    sides = {**side, "depth": side_params(condition=-0.5, x_t=0.1, out=1.0)}
    context, conditions, indices = inputs
    both = (context, {**conditions, "depth": conditions["edges"][::-1]}, indices)

    def together(**settings):
        return generate(two, sides, both, settings=settings)

    alone = together(control_scale={"edges": 1.0, "depth": 0.0})
    assert difference(alone, generate(family, side, inputs)).max() <= 1
    assert difference(alone, together()).mean() > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"control_scale": (1.0, 0.5)}, "control_scale is .* numbers by name for depth, edges"),
        ({"control_end": {"edges": 1.0}}, "control_end is .* numbers by name for depth, edges"),
        ({"control_start": 0.8, "control_end": 0.3}, "control_start is 0.8 and control_end 0.3"),
        ({"sampler": "heun"}, "use ddim or euler or dpmpp_2m"),
        ({"guidance_scale": 1.0, "negative_prompt": "dog"}, "negative_prompt does nothing"),
    ],
)
def test_impossible_settings_are_refused(two, settings, message):
    with pytest.raises(ValueError, match=message):
        make_generator(two, **({"num_steps": 3, "guidance_scale": 2.0} | settings))


def test_side_networks_and_conditions_under_other_names_are_refused(two, side, inputs):
    with pytest.raises(ValueError, match="Side networks are edges, but must be by name: depth, edges"):
        generate(two, side, inputs)
    with pytest.raises(ValueError, match="Conditions are edges, but must be by name: depth, edges"):
        generate(two, side | {"depth": side["edges"]}, inputs)
    with pytest.raises(ValueError, match="Conditions are none, but must be by name: depth, edges"):
        generate(two, side | {"depth": side["edges"]}, (inputs[0], {}, inputs[2]))


def test_number_of_devices_changes_no_image(command_env, fake_devices, tmp_path):
    out = tmp_path / "images.npy"
    argv = [sys.executable, "-m", "toys.samples", str(out)]
    done = subprocess.run(argv, env=command_env | fake_devices(4), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(out)
    assert found.shape == (6, SIZE, SIZE, 3) and difference(found, samples()).max() <= 1
