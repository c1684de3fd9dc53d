"""The LISA loss of Stable Diffusion 3 and all of its gradients against PyTorch's autograd, float32.

The family that a folder is loaded as, beside diffusers' transformer and ControlNet of the same files. The loss is that
of diffusers' trainer for Stable Diffusion 3, with `precondition_outputs` and without, and arXiv 2606.27192's alignment.
"""

import re

import jax
import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3ControlNetModel, SD3Transformer2DModel
from tiny_sd3 import IMAGE_SIZE, build_tiny_sd3
from torch.nn import functional
from torch_alignment import Decoder, check_gradients, decoder_of, paired_leaves

from lisa_jax.alignment import Alignment, NoisySample, lisa_loss
from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.sd3_controlnet import SD3_CONTROLNET
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family
from lisa_jax.objective import Objective

LAM, NAME, N = 0.2, "pose", 2
SIDE, CHANNELS = IMAGE_SIZE // 8, 16
# Of each example, as an index into the scheduler's table: sigma 1, and 0.56.
LEVELS = np.array([0, 700])
# Space of the loss, style of the base, hooks: norms of queries and keys and dual attention are in one, both hooks in
# the other.
FORMS = {
    "velocity": ("network", "sd3.5-medium", ("block_0",)),
    "x0": ("x0", "sd3-medium", ("block_0", "block_1")),
}
# Text tokens end with the last block: what would change them on their way out reaches nothing.
UNREACHED = r"side\.pose\.transformer_blocks\.1\.(attn\.(add_q_proj|to_add_out|norm_added_q)|ff_context)\."


def write_folders(root, style, randomise):
    """Folders of a base without T5 and of a side network; nothing in them is zero."""
    base = build_tiny_sd3(root / "base", style, t5=False)
    tiny = SD3Transformer2DModel.load_config(base / "transformer")
    # Of four blocks, so that both residuals of two reach it.
    transformer = SD3Transformer2DModel.from_config(tiny, num_layers=4)
    randomise([weight for name, weight in transformer.named_parameters() if "norm" in name], std=0.5)
    transformer.save_pretrained(base / "transformer")
    fields = dict(transformer.config) | {"num_layers": 2, "force_zeros_for_pooled_projection": False}
    side = SD3ControlNetModel.from_config(fields)
    side.pos_embed.load_state_dict(transformer.pos_embed.state_dict())
    randomise([*side.controlnet_blocks.parameters(), *side.pos_embed_input.parameters()])
    side.save_pretrained(root / NAME)
    return base, root / NAME


class Reference:
    """The loss in PyTorch; hooks keep the features that the zero layers read."""

    def __init__(self, base, side, hooks):
        self.transformer = SD3Transformer2DModel.from_pretrained(base / "transformer").requires_grad_(False)
        self.side = SD3ControlNetModel.from_pretrained(side)
        self.scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(base / "scheduler")
        self.decoders = {hook: Decoder(self.transformer.inner_dim, 1, CHANNELS) for hook in hooks}
        self.features = {}
        for hook in hooks:
            zero_layer = self.side.controlnet_blocks[int(hook.removeprefix("block_"))]
            zero_layer.register_forward_pre_hook(lambda _, given, hook=hook: self.features.update({hook: given[0]}))

    def loss(self, latents, noise, condition, clip, pooled, precondition_outputs):
        sigmas, t = self.scheduler.sigmas[LEVELS].reshape(-1, 1, 1, 1), self.scheduler.timesteps[LEVELS]
        x_t = (1.0 - sigmas) * latents + sigmas * noise
        width = self.transformer.config.joint_attention_dim
        clip = functional.pad(clip, (0, width - clip.shape[-1]))
        tokens = torch.cat([clip, torch.zeros(N, 256, width)], dim=1)

        def estimate(residuals=None):
            output = self.transformer(x_t, tokens, pooled, t, block_controlnet_hidden_states=residuals).sample
            return output * (-sigmas) + x_t if precondition_outputs else output

        (residuals,) = self.side(x_t, condition, 1.0, tokens, pooled, t, return_dict=False)
        target = latents if precondition_outputs else noise - latents
        main = functional.mse_loss(estimate(residuals), target)
        gap = target - estimate()
        grid = (self.transformer.inner_dim, SIDE // 2, SIDE // 2)
        aligned = [self.decoders[hook](self.features[hook].mT.unflatten(2, grid[1:]), t) for hook in self.decoders]
        return main + LAM * sum(functional.mse_loss(one, gap) for one in aligned) / len(aligned)


def load(base, side, reference):
    """The family, the trainable tree with the reference's weights, and the tables of `paired_leaves`."""
    given = {"start_from": {NAME: str(side)}, "frozen_dtype": "float32", "compute_dtype": "float32"}
    family, decoders = load_family(base, Setup((NAME,), **given)), {}
    network = family.model.sides[NAME]
    start = network.init(family.read_start()[NAME], jax.random.key(0))
    table = dict(SD3_CONTROLNET.key_table(SD3_CONTROLNET.config(open_checkpoint(side))))
    del table["pos_embed.pos_embed"]  # which nothing trains
    tables = {("side", NAME): (table, reference.side)}
    for hook, decoder in reference.decoders.items():
        shapes = jax.eval_shape(lambda key, hook=hook: network.init_decoder(key, hook), jax.random.key(0))
        of_decoder, params = decoder_of(decoder, shapes)
        decoders[hook], tables["decoder", hook, NAME] = {NAME: params}, (of_decoder, decoder)
    return family, {"side": {NAME: start}, "decoder": decoders}, tables


def gradient_of(parameter):
    return torch.zeros_like(parameter.data) if parameter.grad is None else parameter.grad


@pytest.mark.parametrize(("space", "style", "hooks"), FORMS.values(), ids=FORMS.keys())
def test_loss_and_every_gradient_equal_autograd(space, style, hooks, tmp_path, randomise, to_jax, run):
    base, side = write_folders(tmp_path, style, randomise)
    reference = Reference(base, side, hooks)
    family, trainable, tables = load(base, side, reference)
    latents, noise, condition = (torch.randn(N, CHANNELS, SIDE, SIDE) for _ in range(3))
    clip, pooled = (torch.randn(N, *family.conditioner.shapes[name].shape) for name in ("clip", "pooled"))
    expected = reference.loss(latents, noise, condition, clip, pooled, precondition_outputs=space == "x0")
    expected.backward()

    objective, align = Objective(family.process, space), Alignment(hooks)
    inputs = {"context": {"clip": to_jax(clip), "pooled": to_jax(pooled)}, "condition": {NAME: to_jax(condition)}}
    t = family.process.sigma_table()[LEVELS]

    def loss(trainable, frozen, inputs, x0, noise, t):
        noisy = NoisySample(objective.perturb(x0, noise, t), t, objective.target(x0, noise, t))
        terms, _ = lisa_loss(trainable, frozen, inputs, noisy, model=family.model, process=objective, align=align)
        return terms.total(LAM)

    measured, (gradient, of_frozen) = run(
        jax.value_and_grad(loss, argnums=(0, 1)), trainable, family.frozen, inputs, to_jax(latents), to_jax(noise), t
    )
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_frozen))
    difference = abs(float(measured) / expected.item() - 1)
    print(f"{space}: loss {expected.item():.4f}, relative difference {difference:.1e}")
    assert difference <= 1e-5
    pairs = list(paired_leaves(gradient, tables, gradient_of))
    unreached = {name: leaf for name, leaf, theirs in pairs if not np.any(theirs)}
    assert all(re.match(UNREACHED, name) and not np.any(leaf) for name, leaf in unreached.items()), unreached.keys()
    check_gradients(pair for pair in pairs if pair[0] not in unreached)
