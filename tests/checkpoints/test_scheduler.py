"""Scheduler configs: which noise process a base was trained with, and what is refused, by field."""

import pytest

from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.processes import EDM, Diffusion, RectifiedFlow
from lisa_jax.sampling.samplers.sampler import make_sampler

SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
EPSILON, V = Diffusion(), Diffusion(prediction_type="v_prediction")
SVD = {
    "_class_name": "EulerDiscreteScheduler",
    "prediction_type": "v_prediction",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
} | SD_BETAS
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
# Scheduler of a published base -> the process that the base was trained with.
PUBLISHED = {
    "sd15": ({"_class_name": "PNDMScheduler", "steps_offset": 1, "skip_prk_steps": True} | SD_BETAS, EPSILON),
    "sd21_v": (
        {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", "trained_betas": None} | SD_BETAS,
        V,
    ),
    "zero terminal SNR": (
        {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True} | SD_BETAS,
        Diffusion(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    ),
    "sdxl": ({"_class_name": "EulerDiscreteScheduler", "prediction_type": "epsilon"} | SD_BETAS, EPSILON),
    "sd3": (
        FLOW | {"num_train_timesteps": 1000, "shift": 3.0},
        RectifiedFlow(shift=3.0, num_train_timesteps=1000),
    ),
    # Its own table is not shifted.
    "a shift by size": (
        FLOW | {"shift": 3.0, "use_dynamic_shifting": True},
        RectifiedFlow(shift=1.0, num_train_timesteps=1000),
    ),
    "svd": (SVD, EDM()),
    "no class": ({"prediction_type": "v_prediction", "variance_type": "fixed_small"} | SD_BETAS, V),
    "nothing": ({}, Diffusion(1000, "linear", 0.0001, 0.02, "epsilon")),
}


@pytest.mark.parametrize(("config", "process"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_a_scheduler_config_tells_which_process_a_base_was_trained_with(config, process):
    assert process_of(config) == process


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "EDMEulerScheduler"}, "_class_name 'EDMEulerScheduler' is not supported"),
        ({"_class_name": ["DDIMScheduler"]}, "_class_name .* is not supported"),
        ({"prediction_type": "sample"}, "prediction_type 'sample' is not supported: take a base"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid' is not supported: take a base"),
        ({"variance_type": "learned_range"}, "variance_type 'learned_range' is not supported: take a base"),
        (SVD | {"timestep_type": "karras"}, "timestep_type 'karras' is not supported"),
        (SVD | {"prediction_type": "epsilon"}, "prediction_type 'epsilon' is not supported with continuous"),
        ({"rescale_betas_zero_snr": True}, "epsilon says nothing of the data. Take a base that was trained with v"),
        ({"rescale_betas_zero_snr": "false"}, "rescale_betas_zero_snr is 'false', but must be true or false"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas must be num_train_timesteps=1000 numbers"),
        ({"trained_betas": [0.1, 1.0], "num_train_timesteps": 2}, "trained_betas must be"),
        ({"trained_betas": "linear"}, "trained_betas must be"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is 0"),
        ({"num_train_timesteps": 10**12}, "num_train_timesteps is 1000000000000"),
        ({"num_train_timesteps": 1000.0}, "num_train_timesteps is 1000.0"),
        ({"num_train_timesteps": True}, "num_train_timesteps is True"),
        ({"beta_start": 0.02, "beta_end": 0.01}, "beta_start 0.02 is above beta_end 0.01"),
        ({"beta_start": float("nan")}, "beta_start is nan"),
        ({"beta_start": "0.0001"}, "beta_start is '0.0001'"),
        ({"beta_end": 1.0}, "beta_end is 1.0"),
        ({"beta_end": None}, "beta_end is None"),
        ({"beta_end": 0.999}, "the betas up to 0.999 leave no signal at the last step"),
        (
            {"beta_end": 0.999, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
            "the betas up to 0.999 leave no signal",
        ),
        (FLOW | {"shift": float("nan")}, "shift is nan"),
        (FLOW | {"num_train_timesteps": 0}, "num_train_timesteps is 0"),
        (FLOW | {"use_dynamic_shifting": "no"}, "use_dynamic_shifting is 'no', but must be true or false"),
        (FLOW | {"invert_sigmas": True}, "invert_sigmas True is not supported: take a base"),
    ],
)
def test_what_no_process_honours_is_refused_by_field_without_advice_to_change_the_base(config, message):
    with pytest.raises(ValueError, match=message) as error:
        process_of(config)
    assert "set it to" not in str(error.value)


@pytest.mark.parametrize(
    "config",
    [
        {"beta_schedule": "squaredcos_cap_v2", "beta_start": "none", "beta_end": [7]},
        {"trained_betas": [0.1, 0.2], "num_train_timesteps": 2, "beta_schedule": "of our own", "beta_end": 7},
    ],
)
def test_fields_that_nothing_reads_do_not_matter(config):
    assert process_of(config).alpha_sigma_tables()[0].min() > 0


@pytest.mark.parametrize(
    ("sampler", "config", "message"),
    [
        ("ddim", {"timestep_spacing": 7}, "timestep_spacing 7"),
        ("ddim", {"timestep_spacing": "leading", "steps_offset": "1"}, "steps_offset is '1'"),
        ("ddim", {"steps_offset": 10**12}, "steps_offset is 1000000000000"),
        ("ddim", {"clip_sample": "false"}, "clip_sample is 'false'"),
        ("ddim", {"clip_sample_range": -1}, "clip_sample_range is -1"),
        ("ddim", {"set_alpha_to_one": 2}, "set_alpha_to_one is 2"),
        ("euler", {"use_karras_sigmas": "yes"}, "use_karras_sigmas is 'yes'"),
        ("euler", {"use_karras_sigmas": True, "sigma_max": 0}, "sigma_max is 0"),
        ("dpmpp_2m", {"final_sigmas_type": "one"}, "final_sigmas_type 'one'"),
        ("dpmpp_2m", {"use_karras_sigmas": True, "sigma_min": float("nan")}, "sigma_min is nan"),
    ],
)
def test_fields_of_sampling_that_are_nonsense_are_told_by_name(sampler, config, message):
    with pytest.raises(ValueError, match=f"sampler '{sampler}' with the base's scheduler: {message}"):
        make_sampler(sampler, Diffusion(), config, 10)


def test_the_smallest_sigma_of_a_flow_is_told_by_name():
    with pytest.raises(ValueError, match="num_train_timesteps is 0"):
        make_sampler("euler", RectifiedFlow(), {"num_train_timesteps": 0}, 10)
