"""Learning rates by layer against groups of parameters of PyTorch's AdamW."""

import numpy as np
import optax
import pytest
import torch

from lisa_jax.configs.base import control
from lisa_jax.dual_branch import DualBranch, SideNetwork
from lisa_jax.experiments.learning_rates import rate_factors
from lisa_jax.families.unet_control import FRESH_LAYERS
from lisa_jax.training.learning_rate import learning_rate_schedule
from lisa_jax.training.optimizer import make_optimizer

ZERO, EMBEDDING = ("controlnet_down_blocks_0", "controlnet_mid_block"), ("controlnet_cond_embedding",)
COPIED = ("conv_in", "mid_block")
STEPS = 6


def trainable(seed, scale=1.0):
    """Parameters of two side networks and two decoders, a vector for each layer."""
    rng = np.random.default_rng(seed)

    def network(layers):
        return {layer: {"kernel": scale * rng.normal(size=3).astype(np.float32)} for layer in layers}

    side = {name: network((*COPIED, *EMBEDDING, *ZERO)) for name in ("depth", "pose")}
    return {"side": side, "decoder": {hook: {"pose": network(("conv_out",))} for hook in ("down_3", "mid")}}


def model():
    side = SideNetwork(None, None, None, None, ("down_3", "mid"), fresh=FRESH_LAYERS)
    return DualBranch(None, None, None, {"depth": side, "pose": side})


def leaves(tree):
    return {layer: leaf["kernel"] for layer, leaf in tree.items()}


@pytest.mark.parametrize(
    ("settings", "fast"),
    [
        ({"fresh_rate": 10.0}, (*ZERO, *EMBEDDING)),
        ({"fresh_rate": 3.0, "fresh_layers": "zero_convolutions", "decoder_rate": 2.0}, ZERO),
        ({"fresh_rate": 30.0, "fresh_layers": "condition_embedding"}, EMBEDDING),
        ({"fresh_rate": 30.0, "fresh_steps": 4}, (*ZERO, *EMBEDDING)),
        ({"fresh_rate": 1.0}, ()),
    ],
)
def test_layers_that_are_not_copied_have_the_rate_of_a_group_of_their_own(settings, fast):
    config = control()
    config.optimizer.update(learning_rate=1e-2, weight_decay=0.1, clip_norm=0.5, warmup_steps=2, **settings)
    params, optimizer = trainable(0), config.optimizer
    schedule = learning_rate_schedule(optimizer, STEPS)
    ours = make_optimizer(optimizer, schedule, rate_factors(config, model()))
    state = ours.init(params)

    theirs, groups = {}, []
    for part in ("side", "decoder"):
        for name, network in params[part].items():
            for layer, leaf in leaves(network if part == "side" else network["pose"]).items():
                theirs[part, name, layer] = parameter = torch.nn.Parameter(torch.tensor(leaf))
                rate = optimizer.decoder_rate if part == "decoder" else optimizer.fresh_rate if layer in fast else 1.0
                groups.append({"params": [parameter], "lr": optimizer.learning_rate * rate})
    adamw = torch.optim.AdamW(groups, betas=(optimizer.b1, optimizer.b2), weight_decay=optimizer.weight_decay)

    def factor(step, rate):
        falls = optimizer.fresh_steps is not None and rate == optimizer.fresh_rate
        fall = rate ** -min(1.0, step / optimizer.fresh_steps) if falls else 1.0
        return fall * min(1.0, (step + 1) / optimizer.warmup_steps)

    rates = [group["lr"] / optimizer.learning_rate for group in groups]
    schedules = [lambda step, rate=rate: factor(step, round(rate)) for rate in rates]
    torch_schedule = torch.optim.lr_scheduler.LambdaLR(adamw, schedules)

    for step in range(STEPS):
        gradients = trainable(10 + step, scale=3.0 if step % 2 else 0.01)
        for (part, name, layer), parameter in theirs.items():
            network = gradients[part][name] if part == "side" else gradients[part][name]["pose"]
            parameter.grad = torch.tensor(network[layer]["kernel"])
        torch.nn.utils.clip_grad_norm_(list(theirs.values()), optimizer.clip_norm)
        adamw.step()
        torch_schedule.step()
        updates, state = ours.update(gradients, state, params)
        params = optax.apply_updates(params, updates)

    for (part, name, layer), parameter in theirs.items():
        network = params[part][name] if part == "side" else params[part][name]["pose"]
        np.testing.assert_allclose(network[layer]["kernel"], parameter.detach().numpy(), rtol=1e-4, atol=1e-5)
