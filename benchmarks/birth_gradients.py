"""What a new ControlNet's layers are told at birth: docs/why_controlnets_wait.md.

    python -m benchmarks.birth_gradients

Line art beside the embedded base, with encoders of one to seven convolutions before their last layer. Of each encoder:
the spread over the pictures of what reaches its last layer, born as PyTorch does and `preserving`. Of the shortest and
the longest: the length of the mean gradient over that of one batch's noise, group by group, at birth and with zero
convolutions of +-1e-3. Some five minutes on one CPU core.
"""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lisa_jax.configs.studies import base
from lisa_jax.dual_branch import Params
from lisa_jax.experiments.control import control_losses
from lisa_jax.experiments.splits import training_batches
from lisa_jax.models.controlnet import ConditioningEmbedding
from lisa_jax.models.layers import SILU_BIRTH
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.laboratory import Laboratory
from lisa_jax.studies.markdown import table

ENCODERS = ((32,), (16, 32), (16, 32, 96), (16, 32, 96, 256))
CELL = Cell("lineart", 0.0, 1e-4, 0, 16, 1)
PICTURES, BATCHES = 16, 12
OPENED = 1e-3
FINE = tuple(f"controlnet_down_blocks_{index}/" for index in range(4))
EMBEDDING = "controlnet_cond_embedding/conv_out/kernel"


def laboratory(channels: tuple[int, ...]) -> Laboratory:
    """That of a study whose encoder has these widths."""
    config = base.study("openmoji", "openmoji_base", "lineart")
    config.training = ConfigDict(config.training.to_dict() | {"condition_channels": channels})
    return Laboratory(config)


def spread(channels: tuple[int, ...], pictures: jax.Array, birth: float) -> float:
    """Standard deviation over pictures and places, root mean square over channels, of what the last layer sees."""
    size = 2 ** (len(channels) - 1)
    encoder = ConditioningEmbedding(32, channels, encoder_birth=birth)
    enlarged = pictures.repeat(size, axis=1).repeat(size, axis=2)
    params = encoder.init(jax.random.key(0), enlarged[:1])
    _, seen = encoder.apply(params, enlarged, capture_intermediates=True, mutable="intermediates")
    layers = [name for name in seen["intermediates"] if name not in ("__call__", "conv_out")]
    return float(jnp.sqrt(jnp.mean(jnp.var(jax.nn.silu(seen["intermediates"][layers[-1]]["__call__"][0]), (0, 1, 2)))))


def signal_over_noise(at: Laboratory, *, opened: bool) -> dict[str, float]:
    """Of groups of parameters: the length of the mean gradient over that of the noise in one batch's."""
    config, family, split = at.training(CELL), at.family(CELL), at.split(CELL, "train")
    side, frozen = at.initial_state(CELL).params["side"], split.frozen()
    if opened:
        rng = np.random.default_rng(0)
        signs = jax.tree.map(lambda leaf: np.float32(OPENED * rng.choice((-1, 1), leaf.shape)), side)
        groups = family.model.layer_groups(side)
        side = jax.tree.map(lambda old, new, group: new if group == "zero_convolutions" else old, side, signs, groups)
    loss = control_losses(config, family, split.empty).validation

    @jax.jit
    def gradient(inputs, key) -> Params:
        return jax.grad(lambda side: loss({"side": side}, frozen, inputs, key=key, step=0)[0])(side)

    stream = zip(range(BATCHES), training_batches(config, split).iterate(0), strict=False)
    found = [_flat(gradient(batch["inputs"], jax.random.key(index))) for index, batch in stream]
    return {
        "zero convolutions, down_0 to down_3": _ratio(found, lambda name: name.startswith(FINE)),
        "zero convolutions, down_4 to mid": _ratio(
            found, lambda name: name.startswith(("controlnet_down", "controlnet_mid")) and not name.startswith(FINE)
        ),
        "last layer of the encoder": _ratio(found, lambda name: name == EMBEDDING),
    }


def _flat(gradient: Params) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(gradient["lineart"])
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.float64(leaf).ravel() for path, leaf in leaves}


def _ratio(found: list[dict[str, np.ndarray]], belongs) -> float:
    """Of one group. The square of a mean over batches has a share of their noise, which is taken off."""
    rows = np.stack([np.concatenate([leaf for name, leaf in one.items() if belongs(name)]) for one in found])
    noise = np.var(rows, axis=0, ddof=1).sum()
    return (
        0.0 if noise == 0 else float(np.sqrt(max(0.0, np.square(rows.mean(axis=0)).sum() - noise / len(rows)) / noise))
    )


def main() -> None:
    """Print both tables."""
    pictures = jnp.float32(laboratory((32,)).shown("lineart").conditions["lineart"][:PICTURES]) / 255
    print(f"spread of the condition itself: {float(jnp.std(pictures)):.3f}\n")
    rows = [
        (str(widths), f"{spread(widths, pictures, 1.0):.5f}", f"{spread(widths, pictures, SILU_BIRTH):.3f}")
        for widths in ENCODERS
    ]
    print(table(("encoder", "born as PyTorch does", "preserving"), rows), "\n")
    for channels in (ENCODERS[0], ENCODERS[-1]):
        at = laboratory(channels)
        birth, opened = signal_over_noise(at, opened=False), signal_over_noise(at, opened=True)
        print(f"encoder {channels}")
        print(
            table(
                ("gradient of", "at birth", "opened"),
                [(name, f"{birth[name]:.2f}", f"{opened[name]:.2f}") for name in birth],
            )
        )


if __name__ == "__main__":
    main()
