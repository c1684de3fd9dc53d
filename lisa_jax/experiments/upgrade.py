"""What earlier versions saved, in today's words. Nothing else in the package knows how configs and checkpoints were."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from lisa_jax.data.conditions.names import name_of
from lisa_jax.dual_branch import Tree
from lisa_jax.experiments.data_identity import with_data_fingerprint
from lisa_jax.objective import NETWORK, USUAL_TIMES
from lisa_jax.training.upgrade import Layout, Upgrade
from lisa_jax.weighting import UNIFORM

# Of the main loss, which was of one form.
_LOSS = {"space": NETWORK, "weighting": UNIFORM, "min_snr_gamma": 5.0, "times": USUAL_TIMES}
# Of side networks: how their new layers are born, how deep those beside a transformer are, and their kernels' rank.
_SIDE = {"num_layers": None, "lora_rank": None, "condition_init": "zero", "zero_convolution_scale": 0.0}
# Of rematerialisation, which was on or off.
_REMAT = {"false": "none", "true": "full"}


def upgraded(config: ConfigDict) -> ConfigDict:
    """The config of an earlier run with today's fields: new ones say what was done before there was a choice."""
    later = {
        "vae": None,
        "leave_out": None,
        "preset": None,
        "diagnostics_every": None,
        "keep_best": None,
        "trackers": ("tensorboard",),
        "loss": _LOSS,
    }
    fields = {**later, **config.to_dict()}
    later_in_groups = {
        "lisa": {"weighting": UNIFORM, "decoder_width": 1.0},
        "optimizer": {
            "name": "adamw",
            "decoder_rate": 1.0,
            "schedule_steps": None,
            "fresh_rate": 1.0,
            "fresh_layers": None,
            "fresh_steps": None,
        },
        "side": _SIDE,
        "loss": _LOSS,
    }
    # A damaged config is left as it is: what is missing in it, or wrong, `fields.check_config` tells.
    for name, usual in later_in_groups.items():
        if isinstance(fields.get(name), dict):
            fields[name] = usual | fields[name]
    if "remat" in fields:
        fields["remat"] = _REMAT.get(str(fields["remat"]).lower(), fields["remat"])
    if isinstance(fields.get("data"), dict):
        fields["data"] = _with_moved_condition(fields["data"])
    return ConfigDict(fields)


def upgraded_pretraining(config: ConfigDict) -> ConfigDict:
    """The same of an earlier run of `pretrain`."""
    fields = {"trackers": ("tensorboard",), **config.to_dict()}
    if isinstance(fields.get("optimizer"), dict):
        fields["optimizer"] = {"name": "adamw", "schedule_steps": None} | fields["optimizer"]
    return ConfigDict(fields)


def _upgraded_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The identity (`control.identity`) that was saved with a checkpoint, as it would be saved today."""
    data, hook = _with_moved_condition(identity["data"]), identity["hook"]
    side = {"side": {**_SIDE, **identity["side"]}} if "side" in identity else {}
    return {
        "decoder_width": 1.0,
        "loss_space": NETWORK,
        "optimizer": "adamw",
        # Side networks are sorted by name, conditions as they were given.
        "side_networks": sorted(map(name_of, _conditions(identity))),
        **identity,
        **side,
        "data": data,
        "hook": [hook] if isinstance(hook, str) else hook,
    }


def _with_moved_condition(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a data set whose condition, a module:function, may name a module of the package that has moved."""

    def moved(spec: str) -> str:
        return spec.replace("lisa_jax.data.openmoji.", "lisa_jax.data.embedded.openmoji.")

    condition = data.get("condition")
    if isinstance(condition, str):
        return {**data, "condition": moved(condition)}
    several = isinstance(condition, tuple | list) and all(isinstance(spec, str) for spec in condition)
    return {**data, "condition": tuple(map(moved, condition))} if several else dict(data)


def _conditions(identity: Mapping[str, Any]) -> list[str]:
    condition = identity["data"]["condition"]
    return [condition] if isinstance(condition, str) else list(condition)


def _saved_layout(identity: Mapping[str, Any]) -> Layout | None:
    """How the trainable tree lay before everything was by name; None for a checkpoint that is by name.

    The only side network had no name then, nor had the only decoder's hook; side networks of several conditions had
    the conditions' whole names.
    """
    if "side_networks" in identity:
        return None
    conditions, hook = _conditions(identity), identity["hook"]
    today = [name_of(spec) for spec in conditions]

    def to_saved(trainable: Mapping[str, Any]) -> dict[str, Any]:
        def sides(by_name: Mapping[str, Tree]) -> Tree:
            if len(today) == 1:
                return by_name[today[0]]
            return {spec: by_name[name] for spec, name in zip(conditions, today, strict=True)}

        saved = {"side": sides(trainable["side"])}
        if "decoder" in trainable:
            by_hook = {name: sides(part) for name, part in trainable["decoder"].items()}
            saved["decoder"] = by_hook[hook] if isinstance(hook, str) else by_hook
        return saved

    def to_today(saved: Mapping[str, Any]) -> dict[str, Any]:
        def by_name(sides: Tree) -> dict[str, Tree]:
            if len(today) == 1:
                return {today[0]: sides}
            return {name: sides[spec] for spec, name in zip(conditions, today, strict=True)}

        trainable = {"side": by_name(saved["side"])}
        if "decoder" in saved:
            by_hook = {hook: saved["decoder"]} if isinstance(hook, str) else saved["decoder"]
            trainable["decoder"] = {name: by_name(part) for name, part in by_hook.items()}
        return trainable

    return Layout(lambda state: _everywhere(state, to_saved), lambda state: _everywhere(state, to_today))


def _everywhere(tree: Tree, change: Callable[[Mapping[str, Any]], Tree]) -> Tree:
    """The tree with every trainable tree in it changed: parameters, their average, and the optimizer's moments."""
    if isinstance(tree, Mapping):
        if "side" in tree:
            return change(tree)
        return {name: _everywhere(part, change) for name, part in tree.items()}
    if hasattr(tree, "_fields"):
        return type(tree)(*(_everywhere(part, change) for part in tree))
    return tuple(_everywhere(part, change) for part in tree) if isinstance(tree, tuple) else tree


def _is_of_decoder(names: Sequence[str]) -> bool:
    """Earlier versions widened a feature at latent resolution to 64 channels in its alignment decoder."""
    # A side network may be called so, too.
    return "decoder" in names and "side" not in names[: names.index("decoder")]


def upgrade(config: ConfigDict, data_fingerprint: str | None) -> Upgrade:
    """How the checkpoints of earlier versions are read by a run.

    Args:
      config: the run's.
      data_fingerprint: see `data_identity`.
    """

    def identity(saved: Mapping[str, Any]) -> Mapping[str, Any]:
        return with_data_fingerprint(_upgraded_identity(saved), config, data_fingerprint)

    return Upgrade(identity, _saved_layout, _is_of_decoder)
