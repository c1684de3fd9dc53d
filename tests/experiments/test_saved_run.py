"""Reading runs back."""

import json

import jax
import pytest

from lisa_jax.aot.step import abstract_step
from lisa_jax.configs import openmoji_lineart
from lisa_jax.experiments.base import architecture, load_base
from lisa_jax.experiments.control import control_experiment
from lisa_jax.experiments.saved_run import load_run, read_config
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.training.program import make_program


@pytest.mark.parametrize(
    ("condition", "hook"), [("lineart", "down_1"), ("lineart", "down_0,mid"), (("lineart", "lowres"), "down_1")]
)
def test_whoever_builds_the_program_of_a_config_gets_the_same_state(condition, hook, tiny_base):
    config = openmoji_lineart.get_config()
    config.update(base=str(tiny_base), condition_channels=(8,), ema_decay=0.9)
    config.lisa.hook, config.data.image_size = hook, 16
    with config.ignore_type():
        config.data.condition = condition
    family, mesh = load_base(config), make_mesh(devices=jax.devices()[:1])
    whole = control_experiment(config, family, {"main": family.frozen}, empty=None)
    # With what the side networks start from, as `fit` knows it; with neither start nor frozen weights, as who reads a
    # checkpoint; and with no weights at all, as who compiles.
    trained = make_program(whole, config, mesh, whole.load_start()).state
    read = make_program(control_experiment(config, family, {}, empty=None), config, mesh).state
    compiled, *_ = abstract_step(config, architecture(config, None), mesh, aligns=True).arguments
    for other in (read, compiled):
        assert jax.tree.structure(other) == jax.tree.structure(trained)
        assert jax.tree.leaves(other) == jax.tree.leaves(trained)


def without(name):
    return lambda config: config.pop(name)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda config: config.update(batch_size="8"), r"config\.batch_size is '8', but must be a whole number"),
        (lambda config: config.update(lisa=[]), r"config\.lisa\.lam is missing: .* lisa is \[\], but must be a group"),
        (lambda config: config["data"].update(condition=7), r"config\.data\.condition is 7, but must be the name"),
        (lambda config: config["data"].update(condition="../../x"), r"config\.data\.condition is '\.\./\.\./x'"),
        (lambda config: config["optimizer"].update(b1=None), r"config\.optimizer\.b1 is None"),
        (lambda config: config.update(later=1), r"config\.later is no field"),
        (lambda config: config.update({"a.b": 1}), "is not the config of a training run"),
        (without("data"), r"config\.data\.name is missing"),
        (without("remat"), r"config\.remat is missing"),
        (
            lambda config: config.update(unet={}),
            "is of `lisa_jax pretrain`: give the config of a run of `lisa_jax train`",
        ),
    ],
)
def test_a_damaged_config_of_a_run_is_told_by_file_and_field(damage, sentence, tmp_path):
    config = json.loads(openmoji_lineart.get_config().to_json_best_effort())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    assert read_config(tmp_path).to_dict() == config
    damage(config)
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=sentence) as refused:
        read_config(tmp_path)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("text", [b"", b"[1]", b'{"seed": 0', b"\xff\xfe{}", b"[" * 10**5, b"null"])
def test_a_config_that_is_no_object_is_told_by_its_file(text, tmp_path):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"^\S+config\.json .*, but must be the config of a training run\."):
        read_config(tmp_path)


def test_the_best_checkpoint_is_the_one_that_validated_best(trained_run, tmp_path, metrics_of):
    name = "validation/main_loss"
    validated = [(line[name], line["step"]) for line in metrics_of(trained_run) if name in line]
    assert len(validated) == 2 and load_run(trained_run, "best").step == min(validated)[1]
    config = json.loads((trained_run / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"keep_best": None}))
    with pytest.raises(ValueError, match=r"keeps no best checkpoint: use --weights=auto, or train with --config\.keep"):
        load_run(tmp_path, "best")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FileNotFoundError, match=r"no validated checkpoint yet: train for config\.eval_every steps"):
        load_run(tmp_path, "best")
