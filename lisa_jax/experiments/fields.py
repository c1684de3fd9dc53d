"""The fields of configs, each with the kind of value that it takes, and the check of a whole config, by name.

The comments and the usual values of the same fields, in the same order, are in `configs/base.py`. It stands above this
package, and a config may be made without it, or be a file that a run has left: the check is here, and needs it not.
Bounds from above are far beyond what anybody trains with, and low enough that nothing within them fills a machine
before it is told.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import RequiredValueError

from lisa_jax.data.embedded.tasks import CLIPS, TASK_CONDITIONS
from lisa_jax.experiments.bounds import (
    CONDITION,
    DECAY,
    DTYPE,
    EMBEDDED_CLIP,
    EMBEDDED_SIDE,
    FACTOR,
    FRAMES,
    HOOK,
    MOMENT,
    NEGATIVE_PROMPT,
    RATE,
    ROWS,
    SAMPLING_STEPS,
    SCALE,
    SEED,
    SHARE,
    SHOWN,
    SIDE,
    STEPS,
)
from lisa_jax.experiments.kinds import (
    ByName,
    Choice,
    Either,
    Kind,
    Maybe,
    Number,
    Several,
    Text,
    Truth,
    Whole,
    or_unset,
    require,
    shown,
)
from lisa_jax.experiments.upgrade import upgraded, upgraded_pretraining
from lisa_jax.families.family import CONDITION_INITS
from lisa_jax.media.channels import MOST_CHANNELS
from lisa_jax.models.attention import ATTENTION_IMPLEMENTATIONS
from lisa_jax.models.remat import REMAT_POLICIES
from lisa_jax.objective import LOSS_TIMES, LOSS_WEIGHTINGS, SPACES
from lisa_jax.sampling.samplers.sampler import SAMPLERS
from lisa_jax.training.best import SCORES
from lisa_jax.training.learning_rate import SCHEDULES
from lisa_jax.training.optimizer import OPTIMIZERS, OWN_FIELDS, unread_field
from lisa_jax.training.trackers import TRACKERS
from lisa_jax.weighting import WEIGHTINGS

Fields = Mapping[str, Kind]

TRAINING: Fields = {
    "seed": SEED,
    "batch_size": ROWS,
    "num_steps": STEPS,
    "accumulate": ROWS,
    "mesh.data": Whole(-1, 2**16),
    "mesh.fsdp": ROWS,
    "mesh.tensor": ROWS,
    "mesh.split_frozen": Truth(),
    "compute_dtype": DTYPE,
    "caption_dropout": SHARE,
    "ema_decay": or_unset(DECAY),
    "optimizer.name": Choice(tuple(OPTIMIZERS)),
    "optimizer.learning_rate": Number(above=0, most=1000),
    "optimizer.schedule": Choice(tuple(SCHEDULES)),
    "optimizer.schedule_steps": or_unset(STEPS),
    "optimizer.warmup_steps": Whole(0, 10**9),
    "optimizer.b1": DECAY,
    "optimizer.b2": DECAY,
    "optimizer.eps": Number(above=0, most=1),
    "optimizer.weight_decay": FACTOR,
    "optimizer.clip_norm": Number(above=0, most=1e9),
    "log_every": STEPS,
    "eval_every": STEPS,
    "save_every": STEPS,
    "keep": STEPS,
    "trackers": Several(Choice(TRACKERS), 0, len(TRACKERS)),
}

CONTROL: Fields = {
    **TRAINING,
    "optimizer.decoder_rate": RATE,
    "optimizer.fresh_rate": RATE,
    "optimizer.fresh_layers": or_unset(Text()),
    "optimizer.fresh_steps": or_unset(STEPS),
    "base": Text(),
    "vae": or_unset(Text()),
    "leave_out": or_unset(Text()),
    "preset": or_unset(Text()),
    "frozen_dtype": DTYPE,
    "remat": Choice(REMAT_POLICIES),
    "attention": Choice(ATTENTION_IMPLEMENTATIONS),
    "data.name": Choice(("prepared", *TASK_CONDITIONS)),
    "data.dir": Maybe(Text()),
    "data.image_size": Either((SIDE, Several(SIDE, 2, 3))),
    "data.condition": CONDITION,
    "data.conditioning_channels": Maybe(ByName(Whole(1, MOST_CHANNELS))),
    "data.flip": Truth(),
    "condition_channels": Several(Whole(1, 2048)),
    "side.start_from": or_unset(Text()),
    "side.block_out_channels": or_unset(Several(Whole(1, 2048))),
    "side.layers_per_block": or_unset(Whole(1, 16)),
    "side.num_layers": or_unset(Whole(1, 1024)),
    "side.lora_rank": or_unset(Whole(1, 1024)),
    "side.condition_init": Choice(tuple(CONDITION_INITS)),
    "side.zero_convolution_scale": Number(least=0, most=16),
    "loss.space": Choice(SPACES),
    "loss.weighting": Choice(LOSS_WEIGHTINGS),
    "loss.min_snr_gamma": Number(above=0, most=1000),
    "loss.times": Choice(LOSS_TIMES),
    "lisa.lam": Number(least=0, most=1e6),
    "lisa.hook": HOOK,
    "lisa.schedule": Choice(("constant", "linear", "cosine")),
    "lisa.decay_steps": or_unset(STEPS),
    "lisa.stop_step": or_unset(STEPS),
    "lisa.align_every": ROWS,
    "lisa.weighting": Choice(WEIGHTINGS),
    "lisa.decoder_width": Number(least=0.01, most=16),
    "keep_best": or_unset(Choice(SCORES)),
    "sampling.sampler": Choice(tuple(SAMPLERS)),
    "sampling.num_steps": SAMPLING_STEPS,
    "sampling.guidance_scale": FACTOR,
    "sampling.min_guidance_scale": Maybe(FACTOR),
    "sampling.decode_chunk": Maybe(FRAMES),
    "sampling.control_scale": SCALE,
    "sampling.control_start": Maybe(MOMENT),
    "sampling.control_end": Maybe(MOMENT),
    "sampling.guess_mode": Maybe(Truth()),
    "sampling.negative_prompt": Maybe(NEGATIVE_PROMPT),
    "sampling.batch_size": Maybe(ROWS),
    "preview_count": SHOWN,
    "preview_every": STEPS,
    "diagnostics_every": or_unset(STEPS),
}

PRETRAINING: Fields = {
    **TRAINING,
    "data.name": Choice(tuple(TASK_CONDITIONS)),
    "data.image_size": Either((EMBEDDED_SIDE, EMBEDDED_CLIP)),
    "data.flip": Truth(),
    "sampling.sampler": Maybe(Choice(tuple(SAMPLERS))),
    "sampling.num_steps": SAMPLING_STEPS,
    "sampling.guidance_scale": FACTOR,
    "sampling.count": SHOWN,
}
_TEXT: Fields = {
    "text.vocab_size": Whole(514, 2**16),
    "text.max_length": Whole(3, 1024),
    "text.width": Whole(1, 2048),
    "text.layers": Whole(1, 48),
    "text.heads": Whole(1, 128),
}
# Group of a pretraining config that describes the main network -> the fields that it comes with.
NETWORKS: Mapping[str, Fields] = {
    "unet": {
        **_TEXT,
        "unet.block_out_channels": Several(Whole(1, 1024)),
        "unet.cross_attention_levels": Several(Truth()),
        "unet.layers_per_block": Whole(1, 16),
        "unet.heads": Several(Whole(1, 128)),
        "unet.norm_num_groups": Whole(1, 1024),
        "scheduler.beta_schedule": Choice(("linear", "scaled_linear", "squaredcos_cap_v2")),
        "scheduler.prediction_type": Choice(("epsilon", "v_prediction")),
    },
    "transformer": {
        **_TEXT,
        "transformer.num_layers": Whole(2, 256),
        "transformer.heads": Whole(1, 128),
        "transformer.head_dim": Whole(1, 1024),
        "transformer.patch_size": Whole(1, 64),
        "scheduler.shift": Number(above=0, most=1000),
    },
    "temporal_unet": {
        "temporal_unet.block_out_channels": Several(Whole(1, 1024)),
        "temporal_unet.cross_attention_levels": Several(Truth()),
        "temporal_unet.layers_per_block": Whole(1, 16),
        "temporal_unet.heads": Several(Whole(1, 128)),
        "temporal_unet.patch_size": Whole(1, 16),
        "image_encoder.width": Whole(1, 2048),
        "image_encoder.layers": Whole(1, 48),
        "image_encoder.heads": Whole(1, 128),
        "scheduler.sigma_min": Number(above=0, most=1),
        "scheduler.sigma_max": Number(above=1, most=1000),
    },
}


def check_config(config: ConfigDict, fields: Fields, where: str = "config") -> ConfigDict:
    """Return the config if it has all of the fields and no others, and each has a value of its kind.

    Args:
      config: what a config file made, or a run has left.
      fields: by dotted name, those of the command: `CONTROL`, `PRETRAINING` or a study's.
      where: what the names of fields begin with, for messages.

    Raises:
      ValueError: tells the first field that is wrong, with its value and what it must be.
    """
    given = dict(_flat(config, fields, where))
    for name, kind in fields.items():
        if name in given:
            require(f"{where}.{name}", given.pop(name), kind)
        elif not isinstance(kind, Maybe):
            raise ValueError(f"{where}.{name} is missing: give {kind}.{_instead(name, given)}")
    if given:
        unknown = next(iter(given))
        near = difflib.get_close_matches(unknown, fields, 1)
        advice = f"did you mean {near[0]}?" if near else "nothing reads it; leave it out."
        raise ValueError(f"{where}.{unknown} is no field: {advice}")
    return config


def check_control(config: ConfigDict, where: str = "config") -> ConfigDict:
    """A config of `lisa_jax train` in today's words, after `check_config` and a look at its fields side by side."""
    if network := next((name for name in NETWORKS if name in config), None):
        raise ValueError(f"{where}.{network} is of `lisa_jax pretrain`: give the config of a run of `lisa_jax train`.")
    # First of all, for nothing can be made of a config that says that something has to be given.
    dict(_flat(config, CONTROL, where))
    config = check_config(upgraded(config), CONTROL, where)
    check_together(config, where)
    check_keeps_best(config, where)
    return config


def check_pretraining(config: ConfigDict, where: str = "config") -> ConfigDict:
    """The same of a config of `lisa_jax pretrain`."""
    config = check_config(upgraded_pretraining(config), PRETRAINING | NETWORKS[network_of(config)], where)
    check_together(config, where)
    return config


def network_of(config: ConfigDict) -> str:
    """The group of a pretraining config that describes its main network; raises ValueError unless there is one."""
    found = [name for name in NETWORKS if name in config]
    if len(found) != 1:
        raise ValueError(f"config has {' and '.join(found) or 'no main network'}: give one of {', '.join(NETWORKS)}.")
    return found[0]


def check_together(config: ConfigDict, where: str = "config") -> None:
    """Raise ValueError where fields of training, each of its kind, contradict each other."""
    if config.batch_size % config.accumulate:
        raise ValueError(
            f"{where}.batch_size is {config.batch_size}, but must be a multiple of {where}.accumulate, which is "
            f"{config.accumulate}."
        )
    check_optimizer(config.optimizer, f"{where}.optimizer")
    if config.data.name in TASK_CONDITIONS:
        size = EMBEDDED_CLIP if config.data.name in CLIPS else EMBEDDED_SIDE
        require(f"{where}.data.image_size", config.data.image_size, size)
    elif "dir" not in config.data:
        raise ValueError(f"{where}.data.dir is missing: name the folder that `lisa_jax prepare` wrote.")


def check_optimizer(optimizer: Mapping[str, Any], where: str) -> None:
    """Raise ValueError for a value that the chosen optimizer does not read."""
    name = unread_field(optimizer)
    if name is not None:
        raise ValueError(
            f"{where}.{name} is {shown(optimizer[name])}, but {optimizer['name']} does not read it: leave it at "
            f"{shown(OWN_FIELDS[name])}."
        )


def check_keeps_best(config: ConfigDict, where: str = "config") -> None:
    """Raise ValueError where steps would be validated that are not saved: the best may be one of them."""
    if config.keep_best is not None and config.eval_every % config.save_every:
        raise ValueError(
            f"{where}.eval_every is {config.eval_every}, but must be a multiple of {where}.save_every, which is "
            f"{config.save_every}: {where}.keep_best can keep only what is both validated and saved."
        )


def _instead(name: str, given: Mapping[str, Any]) -> str:
    """What stands where a group of fields should be."""
    group = next((part for part in given if name.startswith(f"{part}.")), None)
    return "" if group is None else f" {group} is {shown(given[group])}, but must be a group of fields."


def _flat(config: Any, fields: Fields, where: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values; what is itself a field is not taken apart."""
    for key in config.keys():  # noqa: SIM118 (a config's items would look up every value at once)
        name = f"{prefix}{key}"
        try:
            value = config[key]
        except RequiredValueError:
            raise ValueError(f"{where}.{name} must be given: --config.{name}=VALUE.") from None
        if hasattr(value, "keys") and name not in fields:
            yield from _flat(value, fields, where, f"{name}.")
        else:
            yield name, value
