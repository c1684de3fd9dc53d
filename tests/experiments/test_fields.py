"""Nonsense in a config is refused by the name of its field, before anything is read or computed."""

import functools
import math
import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from ml_collections.config_dict import required_placeholder

from lisa_jax.configs import base, figures_video_base, openmoji_base, openmoji_flow_base, openmoji_lineart, sd21_lisa
from lisa_jax.configs.studies import main_figures
from lisa_jax.experiments.fields import CONTROL, NETWORKS, PRETRAINING, check_control, check_pretraining
from lisa_jax.experiments.kinds import Choice, Maybe
from lisa_jax.families.new_bases import NEW_BASES
from lisa_jax.studies.config_fields import check_study

HUGE = (10**12, 10**30, -(10**12))
NO_NUMBER = ("3", "", None, (1,), [], ConfigDict({"a": 1}), b"1", 1j)
NOT_FINITE = (math.nan, math.inf, -math.inf)
NONSENSE = {
    int: (*HUGE, 10**5000, *NO_NUMBER, *NOT_FINITE, -2, 1.5, True),
    float: (*HUGE, *NO_NUMBER, *NOT_FINITE, -1e-9, 1e30),  # ConfigDict makes 1.0 of True
    bool: (0, 1, "True", None, math.nan, ()),
    str: (0, 1.5, True, None, "", " ", "a\0b", (), ("a", 3), {"a": "b"}),
    base.SIZE: (*HUGE, *NO_NUMBER, *NOT_FINITE, -2, 1.5, True, (8,), (8, True), (8,) * 4),
    tuple: (0, "", None, (), (0,), (-8,), (1.5,), ("8",), (math.nan,), ("",), (10**10,), (1,) * 10**5, ((1, 2), 3)),
}
# What is nonsense elsewhere.
TAKEN = {
    "remat": (True,),
    "sampling.control_scale": (ConfigDict({"a": 1}),),
    "sample_at": ((),),
    "trackers": ((),),
    "title": ("", " "),
    "extractor.name": ("",),
    "extractor.weights": ("", " "),
    "defaults.hook": (None,),
    **dict.fromkeys(("preset", "ema_decay", "validation.num_examples"), (None,)),
}


def fields(config, prefix=""):
    for name in config:
        value = config[name]
        if hasattr(value, "keys"):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def type_of(config, name):
    """Of a field that is unset, too."""
    *groups, last = name.split(".")
    return functools.reduce(getattr, groups, config).get_type(last)


CONFIGS = {
    "train": (sd21_lisa.get_config, check_control),
    "pretrain": (openmoji_base.get_config, check_pretraining),
    "pretrain a flow": (openmoji_flow_base.get_config, check_pretraining),
    "pretrain a base of videos": (figures_video_base.get_config, check_pretraining),
    "study": (main_figures.get_config, check_study),
}
CASES = [
    (command, name, type_of(get_config(), name), value is None)
    for command, (get_config, _) in CONFIGS.items()
    for name, value in fields(get_config())
    # Those of `training` are the fields of `train`.
    if command != "study" or not name.startswith("training.")
]


def changed(config, name, value):
    """The config with another value of a field, whatever its type."""
    *groups, last = name.split(".")
    group = config
    for part in groups:
        group = group[part]
    with group.ignore_type():
        group[last] = value
    return config


@pytest.mark.parametrize(
    ("command", "name", "kind", "unset"), CASES, ids=[f"{command} {name}" for command, name, *_ in CASES]
)
def test_nonsense_is_refused_by_the_name_of_its_field(command, name, kind, unset):
    get_config, check = CONFIGS[command]
    taken = TAKEN.get(name, (None,) if unset else ())
    for value in NONSENSE[kind]:
        if value in taken:
            continue
        with pytest.raises(ValueError) as refused:
            check(changed(get_config(), name, value))
        message = str(refused.value)
        assert message.startswith(f"config.{name}") and "\n" not in message and len(message) < 500, message
        assert " must be " in message or " is no field" in message or " is missing" in message


@pytest.mark.parametrize("name", [name for name, kind in CONTROL.items() if isinstance(kind, Choice)])
def test_a_name_that_is_none_of_a_choice_is_refused_with_those_that_are(name):
    with pytest.raises(ValueError, match=f"config.{name} is 'BF16', but must be .*{CONTROL[name].names[-1]}"):
        check_control(changed(base.control(), name, "BF16"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 2**32 - 1),
        ("num_steps", 10**9),
        ("caption_dropout", 1),
        ("ema_decay", 0.0),
        ("optimizer.warmup_steps", 0),
        ("optimizer.weight_decay", 0),
        ("lisa.lam", 0),
        ("lisa.hook", ("down_3", "mid")),
        ("data.image_size", (64, 96)),
        ("data.image_size", [4, 32, 48]),
        ("data.condition", ["pose", "my.module:edges"]),
        ("sampling.control_scale", {"pose": 1.0}),
        ("sampling.guidance_scale", 0),
    ],
)
def test_what_makes_sense_is_taken(name, value):
    assert check_control(changed(base.control(), name, value))


@pytest.mark.parametrize("condition", ["../../x", "a/b", "a b", "a-b", ":f", "m.:f", "m:", "3d", ("pose", "..")])
def test_conditions_go_by_identifiers(condition):
    with pytest.raises(ValueError, match=r"config\.data\.condition is .*letters, digits and _"):
        check_control(changed(base.control(), "data.condition", condition))


def test_a_field_that_does_not_exist_or_is_missing_is_named():
    config = base.control().unlock()
    config.lisa.lamda = 0.3
    with pytest.raises(ValueError, match=r"config\.lisa\.lamda is no field: did you mean lisa\.lam\?"):
        check_control(config)
    config = base.control().unlock()
    del config.optimizer.b1
    with pytest.raises(ValueError, match=r"config\.optimizer\.b1 is missing: give a number of at least 0"):
        check_control(config)
    with pytest.raises(ValueError, match=r"config\.mesh\.data is missing: .* mesh is 3, but must be a group of fields"):
        check_control(changed(base.control(), "mesh", 3))
    with pytest.raises(ValueError, match=r"config\.base must be given: --config\.base=VALUE"):
        check_control(changed(base.control(), "base", required_placeholder(str)))


def test_a_config_of_an_earlier_version_gets_the_fields_that_came_later():
    config = base.control().unlock()
    for group, name in (("optimizer", "decoder_rate"), ("lisa", "weighting"), ("lisa", "decoder_width")):
        del config[group][name]
    del config.preset, config.keep_best, config.trackers
    assert check_control(changed(config, "remat", False)).to_dict() == base.control().to_dict()


def test_fields_that_contradict_each_other_are_refused_together():
    with pytest.raises(ValueError, match=r"config\.batch_size is 256, but must be a multiple of config\.accumulate"):
        check_control(changed(base.control(), "accumulate", 7))
    config = changed(base.control(), "keep_best", "validation/main_loss")
    assert check_control(config)
    with pytest.raises(ValueError, match=r"config\.eval_every is 250, but must be a multiple of config\.save_every"):
        check_control(changed(config, "eval_every", 250))
    with pytest.raises(ValueError, match=r"config\.data\.image_size is 4096, but must be a whole number from 8 to 512"):
        check_control(changed(openmoji_lineart.get_config(), "data.image_size", 4096))
    config = changed(openmoji_lineart.get_config(), "data.name", "prepared")
    with pytest.raises(ValueError, match=r"config\.data\.dir is missing: name the folder that"):
        check_control(config)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"lam": (0.2, math.nan)}, r"config\.grids\[0\]\.lam is nan"),
        ({"seed": [0, 1]}, r"config\.grids\[0\]\.seed is \[0, 1\]"),
        ({"num_steps": 10**30}, r"config\.grids\[0\]\.num_steps is 1000"),
        ({"hook": 3}, r"config\.grids\[0\]\.hook is 3"),
        ({"seed": tuple(range(200)), "batch_size": tuple(range(1, 101))}, r"config\.grids\[0\] has 20,000 cells"),
    ],
)
def test_a_grid_s_values_are_those_of_the_training_s_fields(grid, message):
    config = main_figures.get_config()
    config.grids = (ConfigDict(grid),)
    with pytest.raises(ValueError, match=message):
        check_study(config)


def test_every_field_is_declared_and_its_comment_names_its_choices():
    declared = {name for name, kind in CONTROL.items() if not isinstance(kind, Maybe)}
    said = dict(fields(base.control()))
    assert declared <= set(said) <= set(CONTROL)
    pretrained = {"unet": openmoji_base, "transformer": openmoji_flow_base, "temporal_unet": figures_video_base}
    for network, module in pretrained.items():
        config = module.get_config()
        assert set(dict(fields(config))) | {"sampling.sampler"} == {*PRETRAINING, *NETWORKS[network]}
    source = Path(base.__file__).read_text()
    for name, kind in CONTROL.items():
        if isinstance(kind, Choice):
            last = name.rpartition(".")[2]
            # With the comment above it, or behind its value.
            lines = re.findall(rf"((?:^ +#.*\n)*^ +(?:config\.|\"){last}[\" ].*)$", source, re.MULTILINE)
            assert any(all(choice in place for choice in kind.names) for place in lines), name


def test_a_base_to_be_pretrained_has_one_main_network():
    assert NEW_BASES.keys() == NETWORKS.keys()
    config, other = openmoji_base.get_config(), openmoji_flow_base.get_config()
    with config.unlocked():
        config.transformer = other.transformer
    with pytest.raises(ValueError, match="config has unet and transformer: give one of unet, transformer"):
        check_pretraining(config)
    with config.unlocked():
        del config.unet, config.transformer
    with pytest.raises(ValueError, match="config has no main network: give one of unet, transformer"):
        check_pretraining(config)


@pytest.mark.parametrize(
    ("place", "value", "name"),
    [
        ("optimizer.fresh_rate", 10.0, "fresh_rate"),
        ("optimizer.decoder_rate", 3.0, "decoder_rate"),
        ("optimizer.schedule", "cosine", "schedule"),
        ("side.condition_init", "preserving", "condition_init"),
    ],
)
def test_what_every_cell_of_a_study_decides_is_refused_where_it_would_not_count(place, value, name):
    config = changed(main_figures.get_config(), f"training.{place}", value)
    with pytest.raises(
        ValueError, match=rf"config\.training\.{place} is .*: leave it at .* set config\.defaults\.{name}"
    ):
        check_study(config)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("sgd", "b2", 0.99), ("sgd", "eps", 1e-6), ("lion", "eps", 1e-6), ("adafactor", "b1", 0.8)],
)
def test_what_the_chosen_optimizer_does_not_read_is_refused(name, field, value):
    config = changed(base.control(), "optimizer.name", name)
    check_control(config)
    told = rf"config\.optimizer\.{field} is {value}, but {name} does not read it: leave it at "
    with pytest.raises(ValueError, match=told):
        check_control(changed(config, f"optimizer.{field}", value))


def test_cells_decide_the_optimizer_and_what_it_does_not_read_is_refused():
    config = main_figures.get_config()
    config.grids = (ConfigDict({"optimizer": ("adamw", "lion"), "b2": (0.99, 0.999)}),)
    check_study(config)
    config.grids = (ConfigDict({"optimizer": ("adamw", "lion"), "eps": (1e-8, 1e-12)}),)
    with pytest.raises(ValueError, match=r"config\.grids\[0\]\.eps is 1e-12, but lion does not read it"):
        check_study(config)
    config = main_figures.get_config()
    config.training.optimizer.name = "lion"
    with pytest.raises(
        ValueError, match=r"optimizer\.name is 'lion', but cells decide it: .* set config\.defaults\.optimizer"
    ):
        check_study(config)


def test_a_study_keeps_no_best_checkpoint_and_tells_no_tracker():
    with pytest.raises(ValueError, match=r"config\.training\.keep_best is .* a study keeps no checkpoints: unset it"):
        check_study(changed(main_figures.get_config(), "training.keep_best", "validation/main_loss"))
    with pytest.raises(ValueError, match=r"config\.training\.trackers is .* a study tells none"):
        check_study(changed(main_figures.get_config(), "training.trackers", ("wandb",)))
