"""Every form of the loss and all of its gradients against PyTorch's autograd, on a dual-branch of three layers.

The reference is written from diffusers' training scripts (for Stable Diffusion 3 with `precondition_outputs`, and the
`snr_gamma` of those for epsilon and v) and the text of arXiv 2606.27192: the gap is that of what is trained.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_loss_weighting_for_sd3, compute_snr

from lisa_jax.alignment import Alignment, NoisySample, lisa_loss
from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.dual_branch import DualBranch, SideNetwork, SideOutput
from lisa_jax.objective import Objective

LAM, GAMMA, NAME, HOOK = 0.2, 5.0, "edges", "middle"
N, SIZE, CHANNELS, HIDDEN = 6, 4, 2, 5
FLOW = FlowMatchEulerDiscreteScheduler(shift=3.0)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
EPSILON = DDPMScheduler(**BETAS)
V = DDPMScheduler(**BETAS, prediction_type="v_prediction", rescale_betas_zero_snr=True)
# Level of each example, as an index into the scheduler's table; both ends of it are there.
LEVELS = np.array([0, 17, 400, 640, 998, 999])


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


SAMPLE = {
    "latents": random(0, N, SIZE, SIZE, CHANNELS),
    "noise": random(1, N, SIZE, SIZE, CHANNELS),
    "condition": random(2, N, SIZE, SIZE, 3),
}
FROZEN = {"encoder": random(3, CHANNELS, CHANNELS), "head": random(4, CHANNELS, CHANNELS)}
TRAINABLE = {
    "encoder": random(5, CHANNELS + 3, HIDDEN),
    "zero": random(6, HIDDEN, CHANNELS),
    "decoder": random(7, HIDDEN, CHANNELS),
}


def networks(library, frozen, trainable, x_t, time, condition):
    """Prediction, prior and the decoder's output, by the functions that `torch` and `jax.numpy` share."""
    trunk = library.tanh(x_t @ frozen["encoder"])
    inputs = library.concatenate([x_t, condition], -1)
    feature = library.tanh(inputs @ trainable["encoder"] + time[:, None, None, None] / 1000)
    prediction = (trunk + feature @ trainable["zero"]) @ frozen["head"]
    return prediction, trunk @ frozen["head"], feature @ trainable["decoder"]


def model():
    def apply(side, trunk, x_t, t, context, condition):
        feature = jnp.tanh(jnp.concatenate([x_t, condition], -1) @ side["encoder"] + t[:, None, None, None] / 1000)
        return SideOutput((feature @ side["zero"],), {HOOK: feature})

    side = SideNetwork(apply, None, lambda decoder, feature, t, shape: feature @ decoder, None, (HOOK,))
    return DualBranch(
        trunk=lambda frozen, x_t, t, context: jnp.tanh(x_t @ frozen["encoder"]),
        predict=lambda frozen, trunk, residuals=None: (trunk + (residuals[0] if residuals else 0)) @ frozen["head"],
        joined=lambda trunk: (trunk,),
        sides={NAME: side},
    )


def of_flow(weighting, preconditions):
    """x_t, the network's time, what the script makes of an output, its target and weight: (n, 1, 1, 1)."""
    latents, noise = map(torch.from_numpy, (SAMPLE["latents"], SAMPLE["noise"]))
    sigmas = FLOW.sigmas[LEVELS].reshape(-1, 1, 1, 1)
    x_t = (1.0 - sigmas) * latents + sigmas * noise
    weights = compute_loss_weighting_for_sd3(weighting, sigmas)
    if preconditions:
        return x_t, FLOW.timesteps[LEVELS], lambda output: output * (-sigmas) + x_t, latents, weights
    return x_t, FLOW.timesteps[LEVELS], lambda output: output, noise - latents, weights


def of_diffusion(scheduler, weighting):
    latents, noise, t = (torch.from_numpy(array) for array in (SAMPLE["latents"], SAMPLE["noise"], LEVELS))
    is_epsilon = scheduler.config.prediction_type == "epsilon"
    target = noise if is_epsilon else scheduler.get_velocity(latents, noise, t)
    weights = torch.ones(N)
    if weighting == "min_snr":
        snr = compute_snr(scheduler, t)
        weights = torch.stack([snr, GAMMA * torch.ones_like(t)], dim=1).min(dim=1)[0] / (snr if is_epsilon else snr + 1)
    x_t = scheduler.add_noise(latents, noise, t)
    return x_t, t.float(), lambda output: output, target, weights.reshape(-1, 1, 1, 1)


def theirs(reference, lam):
    """The loss, and its gradients by name."""
    x_t, time, compared, target, weights = reference
    trainable = {name: torch.from_numpy(leaf.copy()).requires_grad_() for name, leaf in TRAINABLE.items()}
    frozen = {name: torch.from_numpy(leaf) for name, leaf in FROZEN.items()}
    prediction, prior, aligned = networks(torch, frozen, trainable, x_t, time, torch.from_numpy(SAMPLE["condition"]))
    loss = (weights * (compared(prediction) - target) ** 2).reshape(N, -1).mean(1).mean()
    if lam:
        # LISA's mean over elements and noise levels has no weight.
        loss = loss + lam * torch.nn.functional.mse_loss(aligned, (target - compared(prior)).detach())
    loss.backward()
    return loss.item(), {name: leaf.grad.numpy() for name, leaf in trainable.items() if leaf.grad is not None}


def ours(objective, lam):
    """The same of `lisa_loss`."""
    is_flow = hasattr(objective.process, "sigma_table")
    t = jnp.asarray(objective.process.sigma_table()[LEVELS] if is_flow else LEVELS)
    inputs = {"context": None, "condition": {NAME: jnp.asarray(SAMPLE["condition"])}}

    def loss(leaves):
        x0, noise = SAMPLE["latents"], SAMPLE["noise"]
        noisy = NoisySample(objective.perturb(x0, noise, t), t, objective.target(x0, noise, t))
        side = {name: leaves[name] for name in ("encoder", "zero")}
        trainable = {"side": {NAME: side}, "decoder": {HOOK: {NAME: leaves["decoder"]}}}
        align = Alignment((HOOK,)) if lam else None
        terms, _ = lisa_loss(trainable, FROZEN, inputs, noisy, model=model(), process=objective, align=align)
        return terms.total(lam)

    return jax.value_and_grad(loss)(jax.tree.map(jnp.asarray, TRAINABLE))


FORMS = {
    f"{space}-{weighting}": (FLOW, space, weighting)
    for space in ("network", "x0")
    for weighting in ("uniform", "sigma_sqrt", "cosmap")
} | {
    f"{scheduler.config.prediction_type}-{weighting}": (scheduler, "network", weighting)
    for scheduler in (EPSILON, V)
    for weighting in ("uniform", "min_snr")
}


@pytest.mark.parametrize("lam", [0.0, LAM], ids=["plain", "lisa"])
@pytest.mark.parametrize(("scheduler", "space", "weighting"), FORMS.values(), ids=FORMS.keys())
def test_loss_and_every_gradient_equal_autograd(scheduler, space, weighting, lam):
    is_flow = scheduler is FLOW
    reference = of_flow(weighting, space == "x0") if is_flow else of_diffusion(scheduler, weighting)
    loss, gradients = theirs(reference, lam)
    process = process_of(dict(scheduler.config) | {"_class_name": type(scheduler).__name__})
    measured, found = ours(Objective(process, space, weighting, GAMMA), lam)
    errors = {name: np.linalg.norm(found[name] - leaf) / np.linalg.norm(leaf) for name, leaf in gradients.items()}
    difference = abs(float(measured) / loss - 1)
    print(f"loss {loss:.4f}, relative difference {difference:.1e}; gradients {max(errors.values()):.1e}")
    assert gradients.keys() == (TRAINABLE.keys() if lam else TRAINABLE.keys() - {"decoder"})
    assert difference <= 1e-5
    assert max(errors.values()) <= 1e-4
