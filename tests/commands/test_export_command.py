"""`lisa_jax export`: the model card, rounding, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from PIL import Image

from lisa_jax.exporting import verify
from lisa_jax.exporting.model_card import ModelCard, base_name, last_validation
from lisa_jax.exporting.samples import newest_preview
from lisa_jax.exporting.verify import ExportMismatchError, measure, probe_inputs, round_params

ROOT = Path(__file__).parents[2]
CONFIG = {
    "base": "/home/someone/bases/tiny: base #1",
    "batch_size": 4,
    "caption_dropout": 0.0,
    "ema_decay": None,
    "data": {"name": "prepared", "dir": "/home/someone/data/pose|hands", "image_size": 64, "condition": "pose"},
    "lisa": {"lam": 0.2, "hook": "down_5", "schedule": "constant"},
    "optimizer": {"learning_rate": 1e-5, "schedule": "constant", "warmup_steps": 500},
    "sampling": {"sampler": "euler", "num_steps": 20, "guidance_scale": 7.5, "negative_prompt": 'no "quotes"\n'},
}


def card(**fields):
    fields = {"base_fingerprint": "ab" * 32, "has_vae": True, "smaller": False, "dtype": "float32"} | fields
    return ModelCard(**{"config": CONFIG, "step": 1000, "averaged": False, "license": None} | fields)


def parts(rendered):
    """The front matter, read, and the text after it."""
    _, front_matter, text = rendered.split("---\n", 2)
    return yaml.safe_load(front_matter), text


@pytest.mark.parametrize("license", ["openrail++", "no: [yes] # {it} 'is'", "line\nbreak", "yes", "鍵 🔑", '"', "- x"])
def test_front_matter_survives_every_character(license):
    front_matter, _ = parts(card(license=license).render())
    assert front_matter["license"] == license
    assert front_matter["base_model"] == "tiny: base #1"
    assert {"controlnet", "lisa", "stable-diffusion"} <= set(front_matter["tags"])


def test_card_tells_what_was_trained_but_no_folders():
    validation = {"main_loss": 0.25, "a|b": 1.0}
    front_matter, text = parts(card(validation=validation, validation_step=900).render())
    assert front_matter["license"] == "unknown" and "Not stated at export" in text
    assert "| steps | 1000 of batch 4 |" in text
    assert "lam 0.2 (constant) at `down_5`" in text
    assert "Validation after 900 steps" in text and "| main_loss | 0.25 |" in text
    assert "pose\\|hands" in text and "| a\\|b | 1 |" in text
    assert "ab" * 32 in text
    assert "/home/someone" not in text


def test_card_names_the_scheduler_and_settings_of_the_run():
    _, text = parts(card().render())
    assert "EulerDiscreteScheduler.from_config(" in text
    assert 'negative_prompt="no \\"quotes\\"\\n",' in text
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "README.md", "exec")


def test_card_of_two_networks_uses_both_with_their_scales():
    sampling = CONFIG["sampling"] | {"control_scale": {"pose": 1.0, "seg": 0.5}}
    _, text = parts(card(config=CONFIG | {"sampling": sampling}, name="seg", names=("pose", "seg")).render())
    assert "# ControlNet: seg" in text and "trained together with pose" in text
    assert "controlnet_conditioning_scale=[1.0, 0.5]," in text
    compile(text.split("```python\n")[1].split("```")[0], "README.md", "exec")


def test_plain_training_is_not_called_lisa():
    front_matter, text = parts(card(config=CONFIG | {"lisa": CONFIG["lisa"] | {"lam": 0.0}}).render())
    assert "lisa" not in front_matter["tags"] and "| alignment loss | none |" in text


def test_base_is_named_by_its_folder_or_hub_cache():
    assert base_name("/bases/sd21") == "sd21"
    assert base_name("/cache/models--an-owner--a-model/snapshots/0123abcd") == "an-owner/a-model"


def test_last_validation_is_that_of_the_exported_step(tmp_path):
    assert last_validation(tmp_path, 8) == ({}, None)
    lines = [{"step": step, "validation/main_loss": step / 10, "validation/main_loss_q1": 0.0} for step in (4, 8, 12)]
    lines.append({"step": 8, "loss": 1.0})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "vali')
    assert last_validation(tmp_path, 11) == ({"main_loss": 0.8}, 8)


def test_newest_preview_up_to_a_step(tmp_path):
    assert newest_preview(tmp_path, 8) is None
    (tmp_path / "previews").mkdir()
    for step in (4, 12):
        (tmp_path / "previews" / f"samples_{step:07d}.png").touch()
    assert newest_preview(tmp_path, 11).name == "samples_0000004.png"


def test_rounding_refuses_what_float16_cannot_hold():
    params = {"conv": {"kernel": jnp.array([1.0, 1e-3]), "bias": jnp.array([7e4])}}
    with pytest.raises(ValueError, match=r"conv/bias holds 70000, which float16 cannot: export in float32"):
        round_params(params, jnp.dtype("float16"))
    assert round_params(params, jnp.dtype("float32"))["conv"]["bias"] == 7e4


@pytest.fixture(scope="module")
def exported(tiny_base, tmp_path_factory):
    """An untrained side network of the tiny base in a folder, its parameters, and inputs of its size."""
    from lisa_jax.families.stable_diffusion import load_stable_diffusion

    family = load_stable_diffusion(tiny_base, condition_channels=(8,))
    params = jax.jit(family.model.init_side)(family.read_side_start(), jax.random.key(0))
    folder = tmp_path_factory.mktemp("exported")
    family.write_side(folder, params)
    return folder, params, probe_inputs((16, 16, 3), (8, 16), (16, 16), 1000)


def test_rounding_to_float16_is_measured_on_residuals(exported):
    folder, params, inputs = exported
    opened = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    measured = measure(folder, opened, inputs, jnp.dtype("float16"), verifies=False)
    assert 0 < measured.rounding < 1e-2 * measured.largest
    assert measured.difference is None


def test_verify_refuses_a_network_that_was_not_trained(exported):
    with pytest.raises(ExportMismatchError, match="every residual is zero"):
        measure(*exported, jnp.dtype("float32"), verifies=True)


def test_verify_asks_for_diffusers(monkeypatch):
    monkeypatch.setattr(verify.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"diffusers and torch cannot be imported: install .* or export without"):
        verify.require_diffusers()


def test_command_writes_folder_card_and_picture(trained_run, command_env, tmp_path):
    flags = {"workdir": trained_run, "out": tmp_path, "dtype": "float16", "license": "mit", "samples": 3}
    argv = [sys.executable, "-m", "lisa_jax", "export", *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "rounding to float16 moves a residual by" in done.stderr
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "ControlNetModel"
    front_matter, text = parts((tmp_path / "README.md").read_text())
    assert front_matter["license"] == "mit" and front_matter["base_model"] == "base"
    assert "| steps | 8 of batch 8 |" in text and "Validation after 8 steps" in text
    assert "works on pixels" in text
    assert np.asarray(Image.open(tmp_path / "samples.png")).std() > 10
