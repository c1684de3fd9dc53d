"""The LISA loss, its gradients and the recipe's optimizer against PyTorch on the same weights, noise and times.

The reference writes arXiv 2606.27192's loss with diffusers' UNet and ControlNet, PyTorch's autograd, AdamW and
`clip_grad_norm_`. Everything is float32. Weights are random where training starts from zero, else most gradients would
vanish.
"""

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, DDPMScheduler, UNet2DConditionModel
from ml_collections import ConfigDict
from torch.nn import functional
from torch.nn.utils import parametrize
from torch_alignment import Decoder, check_gradients, decoder_of, paired_leaves

from lisa_jax.alignment import Alignment, NoisySample, add_noise, lisa_loss
from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.control_lora import low_rank_table
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.tree import tree_of
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.dual_branch import DualBranch
from lisa_jax.families.low_rank import low_rank
from lisa_jax.families.unet_control import controlnet_side, unet_functions
from lisa_jax.models.controlnet import ControlNetConfig
from lisa_jax.models.unet import UNet
from lisa_jax.processes import Diffusion
from lisa_jax.training.learning_rate import learning_rate_schedule
from lisa_jax.training.optimizer import make_optimizer
from lisa_jax.training.state import state_initialiser
from lisa_jax.training.step import make_train_step

LAM, NAME = 0.2, "edges"
N, SIZE, IMAGE = 2, 16, 32
SD21 = {  # Stable Diffusion 2.1's four levels and 12 + 1 residuals; attention at down_4, down_5 and mid only
    "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D",) * 4,
    "attention_head_dim": [1, 2, 2, 4],
    "use_linear_projection": True,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
}
ONE_LEVEL = SD21 | {  # quick to compile, as the next
    "block_out_channels": (8,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "attention_head_dim": 1,
    "layers_per_block": 1,
}
TWO_LEVELS = SD21 | {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "attention_head_dim": 2,
    "layers_per_block": 1,
}
# Linear maps in the mid block, a convolution of each kind in the two levels.
CONTROL_LORA = TWO_LEVELS | {"mid_block_type": "UNetMidBlock2DCrossAttn"}
CONVOLUTIONS = ONE_LEVEL | {"mid_block_type": "UNetMidBlock2D"}
OPTIMIZER = {
    "name": "adamw",
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warmup_steps": 2,
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.1,
    "clip_norm": 0.1,
}
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
# Prediction -> the schedule that it is tested with: v also at a last step of noise alone.
SCHEDULERS = {
    "epsilon": BETAS | {"prediction_type": "epsilon"},
    "v_prediction": BETAS | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
}


class Reference:
    """The loss in PyTorch; a hook keeps the feature that a zero convolution reads."""

    def __init__(self, unet, side, decoder, hook, prediction_type):
        self.unet, self.side, self.decoder = unet, side, decoder
        self.scheduler = DDPMScheduler(**SCHEDULERS[prediction_type])
        index = hook.removeprefix("down_")
        zero_conv = side.controlnet_mid_block if hook == "mid" else side.controlnet_down_blocks[int(index)]
        zero_conv.register_forward_pre_hook(lambda _, arguments: setattr(self, "feature", arguments[0]))

    def loss(self, latents, context, condition, noise, t):
        x_t = self.scheduler.add_noise(latents, noise, t)
        target = noise
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, t)
        down, mid = self.side(x_t, t, context, condition, return_dict=False)
        prediction = self.unet(
            x_t, t, context, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        with torch.no_grad():
            gap = target - self.unet(x_t, t, context).sample
        aligned = self.decoder(self.feature, t)
        return functional.mse_loss(prediction, target) + LAM * functional.mse_loss(aligned, gap)

    def parameters(self):
        return [*self.side.parameters(), *self.decoder.parameters()]


@dataclasses.dataclass
class Pair:
    """The same model twice. `tables`: path in the trainable tree -> (key table, PyTorch module) of what is there."""

    reference: Reference
    model: DualBranch
    process: Diffusion
    align: Alignment
    frozen: Any
    trainable: Any
    tables: dict[tuple[str, ...], tuple[dict, torch.nn.Module]]
    side_config: ControlNetConfig

    def loss(self, trainable, frozen, inputs, noisy):
        terms, found = lisa_loss(
            trainable, frozen, inputs, noisy, model=self.model, process=self.process, align=self.align
        )
        return terms.total(LAM), found

    def leaves(self, tree, of_torch):
        """(name, our leaf, PyTorch's in our layout) of every trainable leaf."""
        return paired_leaves(tree, self.tables, of_torch)


@pytest.fixture
def make_pair(tmp_path, randomise):
    """Build a `Pair` of tiny random networks; `feature`: channels of the hooked one, its distance in doublings."""

    def make(config, hook, feature, prediction_type):
        unet = UNet2DConditionModel(**config).eval()
        side = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8)).eval()
        for model in (unet, side):
            randomise([parameter for name, parameter in model.named_parameters() if "norm" in name], std=1.0)
        for part in (side.controlnet_cond_embedding.conv_out, side.controlnet_down_blocks, side.controlnet_mid_block):
            randomise(part.parameters())
        unet.requires_grad_(False)
        unet.save_pretrained(tmp_path / "unet")
        side.save_pretrained(tmp_path / "side")
        unet_config, frozen = UNET.read(open_checkpoint(tmp_path), "unet")
        side_config, side_params = CONTROLNET.read(open_checkpoint(tmp_path / "side"))
        network = controlnet_side(side_config, unet_config.out_channels)

        decoder = Decoder(*feature)
        shapes = jax.eval_shape(lambda key: network.init_decoder(key, hook), jax.random.key(0))
        decoder_table, decoder_params = decoder_of(decoder, shapes)
        return Pair(
            Reference(unet, side, decoder, hook, prediction_type),
            DualBranch(*unet_functions(UNet(unet_config)), {NAME: network}),
            Diffusion(**SCHEDULERS[prediction_type]),
            Alignment((hook,)),
            frozen,
            {"side": {NAME: side_params}, "decoder": {hook: {NAME: decoder_params}}},
            {
                ("side", NAME): (CONTROLNET.key_table(side_config), side),
                ("decoder", hook, NAME): (decoder_table, decoder),
            },
            side_config,
        )

    return make


def example_sample():
    """Latents, context and condition, as the reference takes them."""
    return (
        torch.randn(N, 4, SIZE, SIZE),
        torch.randn(N, 5, SD21["cross_attention_dim"]),
        torch.rand(N, 3, IMAGE, IMAGE),
    )


@pytest.fixture
def to_inputs(to_jax):
    """The same as `lisa_loss` takes it."""

    def convert(latents, context, condition):
        return {"latents": to_jax(latents), "context": to_jax(context), "condition": {NAME: to_jax(condition)}}

    return convert


@pytest.mark.parametrize(
    ("config", "hook", "feature", "prediction_type"),
    [
        (SD21, "down_5", (8, 1), "epsilon"),
        pytest.param(SD21, "down_5", (8, 1), "v_prediction", marks=pytest.mark.slow),
        pytest.param(TWO_LEVELS, "mid", (16, 1), "epsilon", marks=pytest.mark.slow),
        (TWO_LEVELS, "mid", (16, 1), "v_prediction"),
        (TWO_LEVELS, "down_0", (8, 0), "epsilon"),
        pytest.param(TWO_LEVELS, "down_0", (8, 0), "v_prediction", marks=pytest.mark.slow),
    ],
    ids=["down_5-epsilon", "down_5-v", "mid-epsilon", "mid-v", "down_0-epsilon", "down_0-v"],
)
def test_loss_and_every_gradient_equal_autograd(
    config, hook, feature, prediction_type, make_pair, to_jax, to_inputs, run
):
    pair = make_pair(config, hook, feature, prediction_type)
    sample, noise, t = example_sample(), torch.randn(N, 4, SIZE, SIZE), torch.tensor([37, 999])
    expected = pair.reference.loss(*sample, noise, t)
    expected.backward()

    def loss(trainable, frozen, inputs, noise, t):
        x_t, target = (f(inputs["latents"], noise, t) for f in (pair.process.perturb, pair.process.target))
        return pair.loss(trainable, frozen, inputs, NoisySample(x_t, t, target))

    ours = run(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True),
        *(pair.trainable, pair.frozen, to_inputs(*sample), to_jax(noise), jnp.asarray(t.numpy(), jnp.int32)),
    )
    (measured, _), (gradient, gradient_of_frozen) = ours

    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient_of_frozen))
    of_loss = abs(float(measured) / expected.item() - 1)
    print(f"{hook} {prediction_type}: loss {expected.item():.4f}, relative difference {of_loss:.1e}")
    assert of_loss <= 1e-5
    check_gradients(pair.leaves(gradient, lambda parameter: parameter.grad))


class Product(torch.nn.Module):
    """A weight with up @ down added to it, as web interfaces read Control-LoRAs."""

    def __init__(self, weight, rank):
        super().__init__()
        rank, pixel = min(rank, *weight.shape[:2]), (1,) * (weight.ndim - 2)
        self.up = torch.nn.Parameter(torch.randn(len(weight), rank, *pixel) / 10)
        self.down = torch.nn.Parameter(torch.randn(rank, *weight.shape[1:]) / 10)

    def forward(self, weight):
        return weight + (self.up.flatten(1) @ self.down.flatten(1)).reshape(weight.shape)


def with_factors(pair, rank):
    """The pair with a Control-LoRA in place of its ControlNet, on either side."""
    side, config = pair.reference.side, pair.model.sides[NAME]
    for name, module in list(side.named_modules()):
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and not name.startswith("controlnet_"):
            parametrize.register_parametrization(module, "weight", Product(module.weight, rank))
            module.parametrizations.weight.original.requires_grad_(False)
    trained = {
        name.replace(".parametrizations.weight.0", ""): parameter
        for name, parameter in side.named_parameters()
        if parameter.requires_grad
    }
    table = low_rank_table(pair.side_config, rank)
    params = tree_of({entry.path: entry.from_torch(trained[key].detach().numpy()) for key, entry in table.items()})
    factored = types.SimpleNamespace(named_parameters=trained.items)
    return dataclasses.replace(
        pair,
        model=dataclasses.replace(pair.model, sides={NAME: low_rank(config, rank)}),
        trainable=pair.trainable | {"side": {NAME: params}},
        tables=pair.tables | {("side", NAME): (table, factored)},
    )


@pytest.mark.parametrize(
    "config",
    [CONVOLUTIONS, pytest.param(CONTROL_LORA, marks=pytest.mark.slow)],
    ids=["convolutions", "attention"],
)
def test_gradients_of_the_factors_of_a_control_lora_equal_autograd(config, make_pair, to_jax, to_inputs, run):
    pair = with_factors(make_pair(config, "down_1", (8, 0), "epsilon"), rank=3)
    sample, noise, t = example_sample(), torch.randn(N, 4, SIZE, SIZE), torch.tensor([37, 900])
    expected = pair.reference.loss(*sample, noise, t)
    expected.backward()

    def loss(trainable, frozen, inputs, noise, t):
        x_t = pair.process.perturb(inputs["latents"], noise, t)
        return pair.loss(trainable, frozen, inputs, NoisySample(x_t, t, noise))[0]

    given = (pair.trainable, pair.frozen, to_inputs(*sample), to_jax(noise), jnp.asarray(t.numpy(), jnp.int32))
    measured, gradient = run(jax.value_and_grad(loss), *given)
    assert float(measured) == pytest.approx(expected.item(), rel=1e-5)
    check_gradients(pair.leaves(gradient, lambda parameter: parameter.grad))


def test_three_steps_of_the_recipe_equal_pytorch(make_pair, to_inputs, run):
    """Adam divides by the gradient's own size, so every parameter counts, whatever the size of its gradient."""
    hook, steps, key = "mid", 3, jax.random.key(7, impl="rbg")
    pair, sample = make_pair(ONE_LEVEL, hook, (8, 0), "epsilon"), example_sample()
    inputs = to_inputs(*sample)
    config = ConfigDict(OPTIMIZER)

    parameters, reference_norms = pair.reference.parameters(), []
    before = {id(parameter): parameter.detach().clone() for parameter in parameters}
    adamw = torch.optim.AdamW(parameters, config.learning_rate, (config.b1, config.b2), config.eps, config.weight_decay)
    warmup = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: min(1.0, (step + 1) / config.warmup_steps))
    for step in range(steps):
        noisy = add_noise(inputs["latents"], jax.random.fold_in(key, step), pair.process)
        noise = torch.from_numpy(np.array(noisy.target)).permute(0, 3, 1, 2)
        adamw.zero_grad()
        pair.reference.loss(*sample, noise, torch.from_numpy(np.array(noisy.t)).long()).backward()
        reference_norms.append(torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm).item())
        adamw.step()
        warmup.step()
    assert min(reference_norms) > 2 * config.clip_norm, "the clip had nothing to do"

    def loss(trainable, frozen, inputs, *, key, step):
        return pair.loss(trainable, frozen, inputs, add_noise(inputs["latents"], key, pair.process))

    optimizer = make_optimizer(config, learning_rate_schedule(config, num_steps=100))
    train_step = make_train_step(loss, optimizer)

    def step_and_norm(*arguments):  # the other metrics would take longer to compile than the networks
        state, found = train_step(*arguments)
        return state, found.means["grad_norm"].total

    state, norms = state_initialiser(lambda _: pair.trainable, optimizer, ema=False)(key), []
    for _ in range(steps):
        state, norm = run(step_and_norm, state, pair.frozen, inputs, key)
        norms.append(float(norm))

    np.testing.assert_allclose(norms, reference_norms, rtol=1e-4)
    of_change, farthest = {}, 0.0
    old = {name: theirs for name, _, theirs in pair.leaves(state.params, lambda parameter: before[id(parameter)])}
    for name, leaf, theirs in pair.leaves(state.params, lambda parameter: parameter.detach()):
        of_change[name] = np.linalg.norm(leaf - theirs) / np.linalg.norm(theirs - old[name])
        farthest = max(farthest, float(np.abs(leaf - theirs).max()) / config.learning_rate)
    worst = max(of_change, key=of_change.get)
    print(
        f"{steps} steps, gradient norms {reference_norms}: largest difference {of_change[worst]:.1e} of a leaf's "
        f"change ({worst}), of a parameter {farthest:.1e} learning rates"
    )
    assert of_change[worst] <= 1e-3
