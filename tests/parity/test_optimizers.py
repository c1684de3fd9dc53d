"""Optimizers by name against PyTorch, transformers, and Lion as its paper writes it."""

import jax
import numpy as np
import optax
import pytest
import torch
from ml_collections import ConfigDict
from transformers.optimization import Adafactor

from lisa_jax.configs.base import optimizer
from lisa_jax.training.learning_rate import learning_rate_schedule
from lisa_jax.training.optimizer import make_optimizer

RATE, DECAY, STEPS = 1e-2, 0.1, 6
# Adafactor keeps means of rows and columns of what has two axes of 128 or more, squares of the rest; the reference
# keeps means of whatever has two axes, the last two.
SHAPES = {"kernel": (2, 1, 128, 130), "bias": (7,)}


def draw(seed, scale):
    rng = np.random.default_rng(seed)
    return {name: scale * rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def gradients_at(step):
    """Far above the clip, and far below it."""
    return draw(10 + step, 3.0 if step % 2 else 1e-3)


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of arXiv 2302.06675, line by line."""

    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for theta in group["params"]:
                m = self.state[theta].setdefault("m", torch.zeros_like(theta))
                c = beta1 * m + (1 - beta1) * theta.grad
                theta -= group["lr"] * (torch.sign(c) + group["weight_decay"] * theta)
                self.state[theta]["m"] = beta2 * m + (1 - beta2) * theta.grad


def theirs(name, parameters, config):
    betas, decay = (config.b1, config.b2), {"weight_decay": config.weight_decay}
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=RATE, betas=betas, eps=config.eps, **decay)
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=RATE, momentum=config.b1, **decay)
    if name == "lion":
        return Lion(parameters, RATE, betas, **decay)
    # A rate that is given, in place of one by the size of each parameter.
    return Adafactor(parameters, lr=RATE, scale_parameter=False, relative_step=False, **decay)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("adamw", {"b2": 0.99, "eps": 1e-6}),
        ("sgd", {"b1": 0.8}),
        ("sgd", {"b1": 0.0}),
        ("lion", {"b1": 0.95, "b2": 0.98}),
        ("adafactor", {}),
    ],
)
def test_parameters_go_the_way_of_the_reference(name, settings):
    config = optimizer()
    config.update(name=name, learning_rate=RATE, weight_decay=DECAY, clip_norm=0.5, warmup_steps=3, **settings)
    ours = make_optimizer(config, learning_rate_schedule(config, STEPS))
    update, params = jax.jit(ours.update), draw(0, 1.0)
    state, start = ours.init(params), params

    reference = {name: torch.nn.Parameter(torch.tensor(leaf)) for name, leaf in params.items()}
    stepper = theirs(name, list(reference.values()), config)
    warm_up = torch.optim.lr_scheduler.LambdaLR(stepper, lambda step: min(1.0, (step + 1) / config.warmup_steps))
    for step in range(STEPS):
        gradients = gradients_at(step)
        for leaf, parameter in reference.items():
            parameter.grad = torch.tensor(gradients[leaf])
        torch.nn.utils.clip_grad_norm_(list(reference.values()), config.clip_norm)
        stepper.step()
        warm_up.step()
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)

    for leaf, parameter in reference.items():
        found, expected = np.asarray(params[leaf]), parameter.detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert np.abs(expected - start[leaf]).max() > 1e-3


def slots(name):
    config = ConfigDict(optimizer().to_dict() | {"name": name})
    state = make_optimizer(config, lambda step: RATE).init(draw(0, 1.0))
    return sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim)


def test_states_are_as_large_as_is_said():
    size = sum(np.prod(shape) for shape in SHAPES.values())
    assert (slots("adamw"), slots("lion"), slots("sgd")) == (2 * size, size, size)
    assert slots("adafactor") < size / 50
