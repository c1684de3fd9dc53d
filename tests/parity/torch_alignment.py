"""The alignment decoder in PyTorch, and gradients of the LISA loss beside those of autograd."""

import math

import jax
import numpy as np
import torch
from torch.nn import functional

from lisa_jax.checkpoints.key_table import key_table

FLOOR = 1e-6  # of the norm of all gradients: below it a leaf is noise of float32 in both


class Decoder(torch.nn.Module):
    """Feature + SiLU(linear(sinusoids)), stages of conv, SiLU, nearest x2, then a convolution; even sizes only."""

    def __init__(self, channels, upsamplings, out_channels=4):
        super().__init__()
        self.upsamplings = upsamplings
        self.time_proj = torch.nn.Linear(256, channels)
        self.conv = torch.nn.ModuleList()
        for stage in range(max(upsamplings, 1)):
            narrowed = max(channels // 2, 64 if upsamplings else min(channels, 64))
            kernel = 1 if stage == 0 and upsamplings and channels >= 512 else 3
            self.conv.append(torch.nn.Conv2d(channels, narrowed, kernel, padding=kernel // 2))
            channels = narrowed
        self.conv_out = torch.nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, feature, t):
        angles = t[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(128) / 128)
        time = functional.silu(self.time_proj(torch.cat([angles.cos(), angles.sin()], dim=1)))
        hidden = feature + time[:, :, None, None]
        for conv in self.conv:
            hidden = functional.silu(conv(hidden))
            if self.upsamplings:
                hidden = functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
        return self.conv_out(hidden)


def decoder_of(decoder, shapes):
    """Key table of our decoder, by the shapes of its parameters, and the weights of a `Decoder` as such a tree."""
    table, params, state = key_table(shapes, containers=("conv",)), {}, decoder.state_dict()
    assert table.keys() == state.keys()
    for key, entry in table.items():
        params.setdefault(entry.path[0], {})[entry.path[1]] = entry.from_torch(state[key].numpy()).copy()
    return table, params


def paired_leaves(tree, tables, of_torch):
    """(name, our leaf, PyTorch's in our layout) of every leaf of a trainable tree; neither side has one more.

    `tables`: path in the tree -> (key table, PyTorch module) of what is there; `of_torch`: a parameter -> its tensor.
    """
    found = 0
    for where, (table, module) in tables.items():
        theirs = dict(module.named_parameters())
        assert theirs.keys() == table.keys()
        for key, entry in table.items():
            leaf = tree
            for name in (*where, *entry.path):
                leaf = leaf[name]
            found += 1
            yield f"{'.'.join(where)}.{key}", np.asarray(leaf), entry.from_torch(of_torch(theirs[key]).numpy())
    assert found == len(jax.tree.leaves(tree))


def check_gradients(pairs):
    """Compare gradients with autograd's, each relative to its own norm, and print the worst.

    `pairs`: (name, our leaf, PyTorch's) as `paired_leaves` gives them; a gradient that vanishes would prove nothing.
    """
    pairs = list(pairs)
    whole = math.sqrt(sum(float(np.sum(np.square(theirs, dtype=np.float64))) for _, _, theirs in pairs))
    errors, sizes = {}, {}
    for name, leaf, theirs in pairs:
        sizes[name] = np.linalg.norm(theirs) / whole
        errors[name] = np.linalg.norm(leaf - theirs) / max(np.linalg.norm(theirs), FLOOR * whole)
    worst, smallest = max(errors, key=errors.get), min(sizes, key=sizes.get)
    print(
        f"{len(errors)} gradients, largest relative difference {errors[worst]:.1e} ({worst}, "
        f"{sizes[worst]:.0e} of the whole); smallest {sizes[smallest]:.1e} of the whole ({smallest})"
    )
    assert sizes[smallest] > 1e-9, "a gradient that vanishes proves nothing"
    assert errors[worst] <= 1e-4
