"""The main loss's weights against the formulas of diffusers' training scripts and its `training_utils`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import (
    compute_density_for_timestep_sampling,
    compute_loss_weighting_for_sd3,
    compute_snr,
)

from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.objective import Objective, with_times

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = torch.arange(1000)


def diffusers_min_snr(scheduler, gamma):
    """As its text-to-image scripts write it; at zero terminal SNR v has no 0 / 0."""
    snr = compute_snr(scheduler, STEPS)
    weights = torch.stack([snr, gamma * torch.ones_like(STEPS)], dim=1).min(dim=1)[0]
    return weights / (snr if scheduler.config.prediction_type == "epsilon" else snr + 1)


@pytest.mark.parametrize("gamma", [5.0, 1.0])
@pytest.mark.parametrize(
    "options",
    [
        {"prediction_type": "epsilon"},
        {"prediction_type": "v_prediction"},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ],
    ids=["epsilon", "v", "zero_snr"],
)
def test_min_snr(options, gamma):
    scheduler = DDPMScheduler(**SD, **options)
    process = process_of(scheduler.config)
    weights = np.asarray(Objective(process, "network", "min_snr", gamma).weight(jnp.arange(1000)))
    assert np.isfinite(weights).all() and weights.dtype == np.float32
    np.testing.assert_allclose(weights, diffusers_min_snr(scheduler, gamma), rtol=1e-4, atol=1e-6)
    # The paper's own form (section 3.4), of a network that predicts x0.
    of_x0 = Objective(process, "x0", "min_snr", gamma).weight(jnp.arange(1000))
    np.testing.assert_allclose(of_x0, compute_snr(scheduler, STEPS).clamp(max=gamma), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("space", ["network", "x0"])
@pytest.mark.parametrize("weighting", ["sigma_sqrt", "cosmap"])
def test_weighting_schemes_of_stable_diffusion_3(weighting, space):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    process = process_of(dict(scheduler.config) | {"_class_name": type(scheduler).__name__})
    weights = Objective(process, space, weighting).weight(jnp.asarray(process.sigma_table()))
    expected = compute_loss_weighting_for_sd3(weighting, scheduler.sigmas)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


@pytest.mark.parametrize(("scheme", "times"), [("logit_normal", "usual"), ("cosmap", "uniform")])
def test_noise_levels_are_drawn_as_diffusers_script_for_stable_diffusion_3_draws_them(scheme, times):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    process = with_times(process_of(dict(scheduler.config) | {"_class_name": type(scheduler).__name__}), times)
    torch.manual_seed(0)
    u = compute_density_for_timestep_sampling(scheme, 100_000, logit_mean=0.0, logit_std=1.0, mode_scale=1.29)
    expected = scheduler.sigmas[(u * 1000).long()].numpy()
    drawn = np.asarray(process.sample_t(jax.random.key(0), 100_000))
    assert set(drawn.tolist()) <= set(scheduler.sigmas.tolist())
    levels = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(np.quantile(drawn, levels), np.quantile(expected, levels), atol=0.008)
