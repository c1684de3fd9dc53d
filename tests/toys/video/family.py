"""The toy video family: what `lisa_jax.families` would hold of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from lisa_jax.checkpoints.checkpoint import Checkpoint, open_checkpoint
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.params import Placement
from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS
from lisa_jax.dual_branch import DualBranch, Params, SideNetwork, Tree
from lisa_jax.families.abstract import no_weights, not_read, shapes_of
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.export_check import Measured, check_export
from lisa_jax.families.family import ConditionEncoder, Family, LatentSpace, Setup
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.usage import Usage
from lisa_jax.media.video import VIDEO
from lisa_jax.parallel.sharding import Rules
from toys.video import networks
from toys.video.components import AUTOENCODER, MAIN, SIDE, TEXT
from toys.video.networks import AutoencoderConfig, MainConfig, SideConfig, TextConfig

CLASS_NAME = "VideoToyPipeline"
COMPONENTS = {
    "transformer": DIFFUSERS_WEIGHTS,
    "text_encoder": DIFFUSERS_WEIGHTS,
    "vae": DIFFUSERS_WEIGHTS,
    "scheduler": None,
}


@dataclasses.dataclass(frozen=True)
class VideoToy:
    """The networks of a checkpoint, without weights; implements `Architecture`."""

    main: MainConfig
    text: TextConfig
    autoencoder: AutoencoderConfig
    scheduler: Mapping[str, Any]
    optional: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[Rules] = ((r"kernel$", P("fsdp", "tensor")), (r"(bias|embedding)$", P()))

    def abstract(self, setup: Setup) -> Family:
        """See `Architecture.abstract`."""
        return self._family(
            setup,
            load_frozen=partial(shapes_of, MAIN.key_table(self.main), jnp.dtype(setup.frozen_dtype)),
            latents=latent_space(self.autoencoder, no_weights),
            conditioner=conditioner(self.text, no_weights),
            read_start=lambda: {name: {} for name in setup.conditions},
            write_main=not_read("A main network"),
            fingerprint="",
        )

    def load(self, setup: Setup, checkpoint: Checkpoint, placement: Placement = None) -> Family:
        """See `Architecture.load`."""

        def start(name: str) -> Params:
            if name in setup.start_from:
                return SIDE.read(open_checkpoint(setup.start_from[name]))[1]
            table = MAIN.key_table(self.main)
            blocks = {key: entry for key, entry in table.items() if entry.path[0] in networks.BLOCKS}
            return MAIN.read_params(checkpoint, "transformer", blocks, whole=False)

        def write_main(folder: str | Path, main: Params) -> None:
            for component in ("text_encoder", "vae", "scheduler"):
                checkpoint.copy(component, Path(folder) / component)
            MAIN.write(Path(folder) / "transformer", self.main, main)
            write_config(folder, {}, CLASS_NAME, name="model_index.json")

        return self._family(
            setup,
            load_frozen=lambda: MAIN.read(checkpoint, "transformer", jnp.dtype(setup.frozen_dtype), placement)[1],
            latents=latent_space(self.autoencoder, lambda: AUTOENCODER.read(checkpoint, "vae")[1]),
            conditioner=conditioner(self.text, lambda: TEXT.read(checkpoint, "text_encoder")[1]),
            read_start=lambda: {name: start(name) for name in setup.conditions},
            write_main=write_main,
            fingerprint=checkpoint.fingerprint(COMPONENTS),
        )

    def _family(self, setup: Setup, *, latents: LatentSpace, **parts: Any) -> Family:
        side = SideConfig(**dataclasses.asdict(self.main))

        def trunk(frozen: Params, x_t: jax.Array, t: jax.Array, context: Tree) -> Tree:
            return networks.trunk(frozen, x_t, t, context, jnp.dtype(setup.compute_dtype))

        return Family(
            model=DualBranch(
                trunk, networks.predict, networks.joined, {name: side_network(side, setup) for name in setup.conditions}
            ),
            process=process_of(self.scheduler),
            scheduler=self.scheduler,
            latents=latents,
            # Side networks see latents.
            condition=ConditionEncoder(latents.moments, latents.sample),
            medium=VIDEO,
            rules=self.rules,
            write_side=lambda folder, name, params, dtype=None: SIDE.write(folder, side, params, dtype),
            check_export=partial(_check_export, side),
            usage=Usage("video toy", ("text-to-video",)),
            **parts,
        )


def read_architecture(checkpoint: Checkpoint) -> VideoToy:
    """The configs of a checkpoint."""
    return VideoToy(
        MAIN.config(checkpoint, "transformer"),
        TEXT.config(checkpoint, "text_encoder"),
        AUTOENCODER.config(checkpoint, "vae"),
        checkpoint.config("scheduler", "scheduler_config.json"),
    )


def side_network(config: SideConfig, setup: Setup) -> SideNetwork:
    return SideNetwork(
        apply=lambda params, trunk, x_t, t, context, condition: networks.side(params, trunk, condition),
        init=partial(networks.init_side, config, setup.births[:2]),
        decode=lambda decoder, feature, t, shape: networks.decode_feature(decoder, feature, t),
        init_decoder=lambda key, hook: networks.init_decoder(config, key),
        hooks=networks.BLOCKS,
        trunk=lambda params: {name: part for name, part in params.items() if not name.startswith("zero")},
        fresh={"projections": "zero_", "condition": "condition/"},
    )


def latent_space(config: AutoencoderConfig, load_params: Callable[[], Params]) -> LatentSpace:
    def sample(moments: jax.Array, key: jax.Array) -> jax.Array:
        mean, log_variance = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
        drawn = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        return drawn * config.scaling_factor

    def decode(params: Params, latents: jax.Array) -> jax.Array:
        return networks.decode_video(config, params, latents / config.scaling_factor)

    def shape(frames: int, height: int, width: int) -> tuple[int, ...]:
        size = (frames, height, width)
        if any(length % part for length, part in zip(size, config.patch, strict=True)):
            raise ValueError(f"Videos of {size} do not fit this base: give multiples of {config.patch}.")
        return (*(length // part for length, part in zip(size, config.patch, strict=True)), config.latent_channels)

    return LatentSpace(load_params, partial(networks.encode_video, config), sample, decode, shape, draws=True)


def conditioner(config: TextConfig, load_params: Callable[[], Params]) -> Conditioner:
    def read(examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        texts = [example["caption"].encode()[: config.length].ljust(config.length, b"\0") for example in examples]
        time_ids = [(example.get("fps", 7), example.get("frames", 4)) for example in examples]
        ids = np.stack([np.frombuffer(text, np.uint8) for text in texts])
        return {"ids": ids.astype(np.int32), "time_ids": np.asarray(time_ids, np.int32)}

    def encode(params: Params, rows: Tree) -> dict[str, jax.Array]:
        tokens, pooled = networks.encode_text(params, rows["ids"])
        return {"tokens": tokens, "pooled": pooled, "time_ids": rows["time_ids"]}

    def null(context: Tree, empty: Tree) -> dict[str, jax.Array]:
        """Zeros in place of text; the time ids stay."""
        zeros = {name: jnp.zeros_like(context[name]) for name in ("tokens", "pooled")}
        return {**zeros, "time_ids": context["time_ids"]}

    shapes = {
        "tokens": jax.ShapeDtypeStruct((config.length, config.width), jnp.float32),
        "pooled": jax.ShapeDtypeStruct((config.pooled_width,), jnp.float32),
        "time_ids": jax.ShapeDtypeStruct((networks.TIME_IDS,), jnp.int32),
    }
    return Conditioner(load_params, read, encode, null, shapes)


def _check_export(
    config: SideConfig, folder: str | Path, params: Params, dtype: jnp.dtype, size: tuple[int, ...], *, verifies: bool
) -> Measured:
    """On a random embedding; diffusers has no such networks."""
    if verifies:
        raise ValueError(f"{folder}: diffusers has no video toys: export without --verify.")
    rng = np.random.default_rng(0)
    embedded, condition = (
        rng.standard_normal((2, *size, width), np.float32) for width in (config.width, config.latent_channels)
    )
    trunk = {"embedded": embedded, "vector": rng.standard_normal((2, config.width), np.float32)}

    def residuals(given: Params) -> tuple[jax.Array, ...]:
        return networks.side(jax.tree.map(jnp.float32, given), trunk, condition).residuals

    return check_export(folder, params, dtype, residuals, None, in_diffusers=False)


def write_checkpoint(folder: str | Path, seed: int = 0) -> None:
    """Write a checkpoint with random weights."""
    folder = Path(folder)
    for name, component, config in (
        ("transformer", MAIN, MainConfig()),
        ("text_encoder", TEXT, TextConfig()),
        ("vae", AUTOENCODER, AutoencoderConfig()),
    ):
        component.write(folder / name, config, random_tree(component.key_table(config), seed))
    scheduler = {"num_train_timesteps": 1000, "shift": 3.0}
    write_config(folder / "scheduler", scheduler, "FlowMatchEulerDiscreteScheduler", name="scheduler_config.json")
    write_config(folder, {}, CLASS_NAME, name="model_index.json")
