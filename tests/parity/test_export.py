"""What a user does with an export: load it in diffusers beside the base, and get what training had."""

import jax.numpy as jnp
import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from lisa_jax.run import load_run

TOLERANCE = 1e-4


def test_exported_controlnet_gives_the_same_in_diffusers(trained_run, tmp_path):
    run = load_run(trained_run)
    run.family.write_side(tmp_path, run.side)
    rng = np.random.default_rng(0)
    x_t = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    t = np.array([30, 700])
    context = rng.normal(size=(2, 8, 16)).astype(np.float32)
    condition = rng.uniform(size=(2, 16, 16, 3)).astype(np.float32)

    model, frozen = run.family.model, run.family.frozen
    time = jnp.asarray(t, jnp.float32)
    residuals, _ = model.side(run.side, x_t, time, context, condition)
    ours = model.predict(frozen, model.trunk(frozen, x_t, time, context), residuals)
    prior = model.predict(frozen, model.trunk(frozen, x_t, time, context))

    controlnet = ControlNetModel.from_pretrained(tmp_path).eval()
    unet = UNet2DConditionModel.from_pretrained(run.config.base, subfolder="unet").eval()
    nchw = [torch.from_numpy(array.transpose(0, 3, 1, 2)) for array in (x_t, condition)]
    text, times = torch.from_numpy(context), torch.from_numpy(t)
    with torch.no_grad():
        down, mid = controlnet(nchw[0], times, text, nchw[1], return_dict=False)
        theirs = unet(
            nchw[0], times, text, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
    assert max(float(np.abs(residual).max()) for residual in residuals) > 1e-4, (
        "training has opened no zero convolution"
    )
    for ours_i, theirs_i in zip(residuals, (*down, mid), strict=True):
        np.testing.assert_allclose(ours_i, theirs_i.numpy().transpose(0, 2, 3, 1), atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), atol=TOLERANCE, rtol=0)
    assert float(np.abs(ours - prior).max()) > 10 * TOLERANCE, "control changes nothing: the comparison would be empty"
