"""The configs: their fields, the recipe's numbers, their arguments, and a few steps of some in their smoke size."""

import ast
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from smallest_sd import SIZE, write_smallest_base, write_table

from lisa_jax.__main__ import command_names
from lisa_jax.configs import base
from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import PRESETS

ROOT = Path(__file__).parents[1]
CONFIGS = ("sd21_lisa", "sd21_baseline", "sd21_fresh", "sd21_v_lisa", "sd15_lisa", "sd21_compositional")
CONFIGS += ("sdxl_lisa", "sd3_lisa", "sd3_x0_lisa", "sd35_medium_lisa", "sd35_large_lisa")


# All that are experiments, as configs/studies/main_openmoji.py.
EXPERIMENTS = [
    str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.py") if "def get_config(" in path.read_text()
]


def get_config(name, *argument):
    return importlib.import_module(f"lisa_jax.configs.{name}").get_config(*argument)


def fields(config, prefix=""):
    """Names of all fields, nested ones with dots."""
    for name in config:
        yield prefix + name
        if hasattr(config[name], "keys"):
            yield from fields(config[name], f"{prefix}{name}.")


def said_fields(tree):
    """The fields that a source gives a value, `config.field = ...` or a dict's "field": [(name, line, value)]."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            yield node.targets[0].attr, node.lineno, node.value
        elif isinstance(node, ast.Dict):
            yield from ((key.value, key.lineno, value) for key, value in zip(node.keys, node.values, strict=True))


def test_every_field_is_said_once_and_explained():
    source = Path(base.__file__).read_text()
    tree, lines = ast.parse(source), source.splitlines()
    # A group is a function with a docstring.
    groups = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and ast.get_docstring(node)}
    found = list(said_fields(tree))
    for name, line, value in found:
        commented = "  # " in lines[line - 1] or lines[line - 2].strip().startswith("# ")
        assert commented or (isinstance(value, ast.Call) and ast.unparse(value.func) in groups), name
    known = [name.rpartition(".")[2] for name in fields(base.control())]
    assert sorted(name for name, _, _ in found) == sorted(known)


def flags_source(command):
    """The text of a command's flags, with that of the flags that it shares with others."""
    folder = ROOT / "lisa_jax" / "commands"
    own = (folder / f"{command}.py").read_text()
    shared = re.findall(r"from lisa_jax\.commands\.(_\w+_flags) import", own)
    return own + "".join((folder / f"{name}.py").read_text() for name in shared)


@pytest.mark.parametrize("path", EXPERIMENTS)
def test_docstring_of_an_experiment_gives_its_command_with_flags_that_exist(path):
    text = ast.get_docstring(ast.parse((ROOT / path).read_text())).replace("\\\n", "")
    commands = re.findall(r"python -m lisa_jax (\w+) (.*)", text)
    assert f"--config={path}" in re.split(r"[ :]", commands[0][1])
    for name, flags in commands:
        assert name in command_names()
        source = flags_source(name)
        for flag in re.findall(r"--(\w+)", flags):
            assert re.search(rf'DEFINE_\w+\(\s*"{flag}"', source), f"{name} has no flag --{flag}"


def test_recipe_is_the_authors():
    config = get_config("sd21_lisa")
    optimizer = config.optimizer.to_dict()
    assert config.loss.to_dict() == {"space": "network", "weighting": "uniform", "min_snr_gamma": 5.0, "times": "usual"}
    assert (config.lisa.lam, config.lisa.hook, config.lisa.schedule) == (0.2, "down_5", "constant")
    assert optimizer == {
        "name": "adamw",
        "learning_rate": 1e-5,
        "schedule": "constant",
        "schedule_steps": None,
        "warmup_steps": 0,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "weight_decay": 1e-2,
        "clip_norm": 1.0,
        "decoder_rate": 1.0,
        "fresh_rate": 1.0,
        "fresh_layers": None,
        "fresh_steps": None,
    }
    assert (config.side.condition_init, config.side.zero_convolution_scale) == ("zero", 0.0)
    assert (config.batch_size, config.num_steps, config.caption_dropout) == (256, 10_000, 0.0)
    assert (config.data.image_size, config.data.flip) == (512, False)
    assert (config.sampling.sampler, config.sampling.num_steps, config.sampling.guidance_scale) == ("dpmpp_2m", 20, 7.5)


@pytest.mark.parametrize("name", CONFIGS)
def test_fields_are_those_of_every_config(name):
    known = set(fields(get_config("openmoji_lineart")))
    config = get_config(name)
    assert known <= set(fields(config)) <= known | {"data.dir", "sampling.batch_size"}
    assert set(fields(get_config(name, "smoke"))) == set(fields(config))


# Config of an embedded base -> what its examples are.
EMBEDDED = {
    "openmoji_segmentation": ("openmoji", "lisa_jax.data.embedded.openmoji.layer_classes:segmentation", True),
    "openmoji_lowres": ("openmoji", "lowres", True),
    "openmoji_lineart_lowres": ("openmoji", ("lineart", "lowres"), True),
    "figures_pose": ("figures", "pose", False),
    "figures_depth": ("figures", "depth", False),
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_configs_differ_in_data_and_base_alone(name):
    config, lineart = get_config(name).to_dict(), get_config("openmoji_lineart").to_dict()
    data, condition, flip = EMBEDDED[name]
    assert config.pop("data") == {"name": data, "image_size": 32, "condition": condition, "flip": flip}
    assert Path(config.pop("base")).parts[-3:] == ("lisa_jax", "assets", f"{data}_base")
    assert config == {field: value for field, value in lineart.items() if field not in ("data", "base")}
    for task in [condition] if isinstance(condition, str) else condition:
        assert callable(get_condition(task))
    assert f"--config=configs/{name}.py" in (ROOT / "configs" / f"{name}.py").read_text()


def test_embedded_bases_have_one_network():
    figures, openmoji = get_config("figures_base"), get_config("openmoji_base")
    assert figures.data.to_dict() == {"name": "figures", "image_size": 32, "flip": False}
    assert figures.unet == openmoji.unet and figures.scheduler == openmoji.scheduler
    # Captions of figures are longer.
    assert figures.text.max_length == 24
    figures.text.max_length = openmoji.text.max_length
    assert figures.text == openmoji.text


def test_flow_configs_differ_from_the_unet_s_in_what_a_transformer_is():
    flow, unet = get_config("openmoji_flow_lineart").to_dict(), get_config("openmoji_lineart").to_dict()
    assert Path(flow["base"]).name == "openmoji_flow_base"
    differing = {name for name in unet if flow[name] != unet[name]}
    assert differing == {"base", "condition_channels", "lisa", "sampling"}
    assert flow["lisa"] == unet["lisa"] | {"hook": "block_1"}
    assert flow["sampling"] == unet["sampling"] | {"sampler": "euler"}
    study = get_config("studies.flow_openmoji")
    assert study.training.base == flow["base"] and study.defaults.hook == "block_1"


def test_configs_of_clips_differ_from_those_of_figures_in_what_clips_are():
    clips, pictures = get_config("figures_video_pose").to_dict(), get_config("figures_pose").to_dict()
    assert Path(clips["base"]).name == "figures_video_base"
    assert clips["data"] == pictures["data"] | {"name": "figures_video", "image_size": (8, 32, 32)}
    # Squares of 2 x 2 pixels: one halving of the condition.
    assert get_config("figures_video_base").temporal_unet.patch_size == 2 ** (len(clips["condition_channels"]) - 1)
    assert (clips["lisa"], clips["optimizer"]) == (pictures["lisa"], pictures["optimizer"] | {"learning_rate": 3e-3})
    study = get_config("studies.figures_video").training.to_dict()
    assert study["base"] == clips["base"] and study["condition_channels"] == clips["condition_channels"]
    assert study["data"] | {"condition": "pose"} == clips["data"]


@pytest.mark.parametrize("base", ["sd21", "sdxl", "svd"])
def test_baseline_differs_in_lam_alone(base):
    lisa, baseline = get_config(f"{base}_lisa", "seg"), get_config(f"{base}_baseline", "seg")
    assert baseline.lisa.lam == 0
    baseline.lisa.lam = lisa.lisa.lam
    assert lisa == baseline


def test_stable_diffusion_3_trains_the_velocity_or_what_the_usual_script_trains():
    velocity, x0 = get_config("sd3_lisa", "pose"), get_config("sd3_x0_lisa", "pose")
    assert (velocity.loss.space, x0.loss.space, x0.loss.weighting) == ("network", "x0", "uniform")
    assert (x0.side.num_layers, x0.optimizer.learning_rate, x0.data.image_size) == (12, 5e-6, 512)
    for config in (velocity, x0):
        assert (config.lisa.hook, config.lisa.align_every, config.sampling.sampler) == ("block_5", 4, "euler")
    plain = get_config("sd3_baseline", "pose")
    assert plain.lisa.lam == 0
    plain.lisa.lam = velocity.lisa.lam
    assert plain == velocity


def test_stable_video_diffusion_trains_clips_and_samples_them_as_the_pipeline_does():
    config, smoke = get_config("svd_lisa", "depth"), get_config("svd_lisa", "smoke")
    assert (
        set(fields(smoke))
        == set(fields(config))
        == {
            *fields(base.control()),
            "sampling.min_guidance_scale",
            "sampling.decode_chunk",
        }
    )
    assert (config.data.image_size, config.optimizer.learning_rate) == ((14, 512, 512), 2e-5)
    # It has the hook of the full size.
    family = PRESETS[smoke.preset].architecture.abstract(Setup(("depth",), smoke.condition_channels))
    sampling = config.sampling.to_dict()
    assert {name: sampling[name] for name in family.sampling} == family.sampling
    assert config.lisa.hook in family.model.hooks and family.size == smoke.data.image_size
    assert config.preset in PRESETS


def test_argument_names_task_and_data():
    assert [get_config("sd21_lisa", task).data.dir for task in ("", "sr")] == ["data/pose", "data/sr"]
    assert get_config("sd21_lisa", "depth").data.condition == "depth"
    assert get_config("sd21_v_lisa", "depth").data.dir == "data/depth_768"
    smoke = get_config("sd21_lisa", "seg,smoke")
    assert (smoke.data.condition, smoke.data.dir, smoke.base) == ("seg", "runs/smoke/seg", "runs/smoke/tiny_sd21")


@pytest.mark.parametrize("argument", ["silhouette", "pose,seg", "pose,tiny"])
def test_argument_that_is_no_task(argument):
    with pytest.raises(ValueError, match="give one of pose, seg, depth, sr, canny, anything, and smoke after a comma"):
        get_config("sd21_lisa", argument)


@pytest.mark.parametrize("name", CONFIGS)
def test_docstring_gives_commands_that_exist(name):
    text = (ROOT / "configs" / f"{name}.py").read_text().split('"""')[1]
    lines = text.replace("\\\n", "").splitlines()
    commands = [" ".join(line.split()) for line in lines if "python -m lisa_jax " in line]
    assert len(commands) == 4 and f"configs/{name}.py" in commands[0]
    smoke = get_config(name, "smoke")
    assert commands[1].endswith(f"--out={smoke.base}")
    size, conditions = smoke.data.image_size, smoke.data.condition
    assert f" --out={smoke.data.dir} --base={smoke.base} --image_size={size} " in commands[2]
    for condition in (conditions,) if isinstance(conditions, str) else conditions:
        assert f"--condition_column={condition}=" in commands[2]
    preset = commands[1].split("--preset=")[1].split()[0]
    assert smoke.base == f"runs/smoke/{preset}" and preset in PRESETS
    # The tiny base of a config predicts what its base predicts.
    v = PRESETS[preset].scheduler.get("prediction_type") == "v_prediction"
    assert v == (name == "sd21_v_lisa")
    setup = Setup(("pose",), smoke.condition_channels)
    assert smoke.lisa.hook in PRESETS[preset].architecture.abstract(setup).model.hooks
    assert "computed, not measured" in text


@pytest.fixture(scope="module")
def command(command_env):
    """Run a command of the package, which must succeed."""

    def run(name, *flags):
        argv = [sys.executable, "-m", "lisa_jax", name, *flags]
        done = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="module")
def base_and_data(command, tmp_path_factory):
    """preset -> its base and a data set prepared with it, made once."""

    @functools.cache
    def make(preset):
        folder = tmp_path_factory.mktemp(preset)
        base, data, table = folder / "base", folder / "data", folder / "table.parquet"
        write_smallest_base(preset, base)
        write_table(table)
        columns = [f"--condition_column={task}={task}_image" for task in ("pose", "seg")]
        where = [f"--source={table}", f"--out={data}", f"--base={base}"]
        command("prepare", *where, *columns, f"--image_size={SIZE}", "--test_fraction=0.3")
        return base, data

    return make


@pytest.mark.parametrize(
    "name",
    # The page on real checkpoints trains sd21_lisa already; the baseline is that with lam 0, and sd15_lisa differs in
    # its base alone.
    [
        pytest.param("sdxl_lisa", marks=pytest.mark.slow),
        pytest.param("sd21_v_lisa", marks=pytest.mark.slow),
        pytest.param("sd21_compositional", marks=pytest.mark.slow),
    ],
)
def test_smoke_size_trains(name, command, base_and_data, tmp_path, metrics_of):
    config = get_config(name, "smoke")
    base, data = base_and_data(Path(config.base).name)
    # A base with fewer hooks, for compiling is most of the time.
    fields = {"base": base, "data.dir": data, "compute_dtype": "float32", "lisa.hook": "down_1"}
    flags = [f"--config.{field}={value}" for field, value in fields.items()]
    command("train", f"--config={ROOT / 'configs' / name}.py:smoke", f"--workdir={tmp_path}", *flags)

    lines = metrics_of(tmp_path)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    aligned = ["align_loss" in line for line in lines if "loss" in line]
    assert all(aligned) if config.lisa.lam > 0 else not any(aligned)
    assert (tmp_path / "previews" / "samples_0000004.png").is_file()

    if isinstance(config.data.condition, tuple):
        command("export", f"--workdir={tmp_path}", f"--out={tmp_path / 'exported'}")
        for network in config.data.condition:
            assert f"# ControlNet: {network}" in (tmp_path / "exported" / network / "README.md").read_text()
            assert (tmp_path / "exported" / network / "diffusion_pytorch_model.safetensors").is_file()
