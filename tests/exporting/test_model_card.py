"""The model card of an exported side network: what it says, and that nothing in it breaks its format."""

import ast
import json

import pytest
import yaml

from lisa_jax.exporting.base_terms import BaseTerms, base_terms
from lisa_jax.exporting.model_card import ModelCard, base_name, last_validation, write_card
from lisa_jax.families import stable_diffusion_3, stable_diffusion_xl, stable_video_diffusion
from lisa_jax.families.export_check import Measured
from lisa_jax.families.stable_diffusion import PIXEL_USAGE, USAGE
from lisa_jax.families.usage import Usage
from lisa_jax.processes import Diffusion

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
    given = {"config": CONFIG, "step": 1000, "averaged": False, "license": None, "dtype": "float32"}
    given |= {"base_fingerprint": "ab" * 32, "process": Diffusion(), "usage": USAGE, "size": (64, 96)}
    given |= {"name": "pose", "names": ("pose",)}
    return ModelCard(**given | fields)


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


def test_rates_of_fresh_layers_are_told_where_they_are_not_the_rest_s():
    def told(**settings):
        _, text = parts(card(config=CONFIG | {"optimizer": CONFIG["optimizer"] | settings}).render())
        return next(line for line in text.splitlines() if line.startswith("| optimizer |"))

    assert told() == told(fresh_rate=1.0) and "times that rate" not in told()
    assert told(fresh_rate=10.0).endswith("warm-up); layers that the base has none of at 10.0 times that rate |")
    falling = {"fresh_rate": 10.0, "fresh_layers": "zero_convolutions", "fresh_steps": 50}
    assert told(**falling).endswith("; zero_convolutions at 10.0 times that rate, falling to it over 50 steps |")


def test_sizes_and_hooks_are_those_of_training():
    _, text = parts(card(config=CONFIG | {"lisa": CONFIG["lisa"] | {"hook": ("down_5", "mid")}}).render())
    assert "size = (96, 64)  # width, height" in text and "at 64 x 96 px" in text
    assert "at `down_5`, `mid`" in text


def test_card_says_which_noise_the_network_was_trained_with():
    process = Diffusion(2, prediction_type="v_prediction", trained_betas=(0.1, 0.2), rescale_betas_zero_snr=True)
    _, text = parts(card(process=process).render())
    assert "prediction_type v_prediction, trained_betas of 2 numbers, rescale_betas_zero_snr True |" in text


def test_card_says_which_form_of_the_main_loss_was_trained():
    def told(**loss):
        _, text = parts(card(config=CONFIG | {"loss": loss}).render())
        return next(line for line in text.splitlines() if line.startswith("| main loss |"))

    assert told(space="x0", weighting="cosmap").endswith("of the x0 that the prediction implies, weighting cosmap |")
    found = told(space="network", weighting="min_snr", min_snr_gamma=5.0)
    assert found.endswith(r"of the prediction, weighting min_snr (gamma 5.0) |")
    # Of a run before there was a choice.
    assert "| main loss |" not in card().render()


@pytest.mark.parametrize(
    ("base", "call"),
    [
        ("/home/someone/dream.safetensors", 'from_single_file("dream.safetensors", controlnet=controlnet)'),
        ("/home/someone/dream", 'from_pretrained("dream", controlnet=controlnet)'),
        ("owner/name/dream.safetensors@v1", 'from_pretrained("owner/name", controlnet=controlnet)'),
    ],
)
def test_card_opens_a_base_in_one_file_as_such(base, call):
    assert f"Pipeline.{call}\n" in card(config=CONFIG | {"base": base}).render()


@pytest.mark.parametrize("family", [stable_diffusion_xl, stable_diffusion_3])
def test_card_says_which_vae_it_was_trained_with(family):
    def told(vae):
        return parts(card(config=CONFIG | {"vae": vae, "leave_out": None}, usage=family.USAGE).render())[1]

    assert "AutoencoderKL" not in told(None)
    of_folder = told("/home/someone/vaes/fixed")
    assert 'vae = AutoencoderKL.from_pretrained("fixed")\n' in of_folder
    assert '| VAE | another in place of the base\'s: `AutoencoderKL.from_pretrained("fixed")` |' in of_folder
    assert "import AutoencoderKL, " in of_folder and "/home/someone" not in of_folder
    base = CONFIG["base"].rpartition("/")[2]
    call = f'AutoencoderKL.from_single_file("a.safetensors", config="{base}", subfolder="vae")\n'
    assert call in told("/home/someone/a.safetensors")


def test_card_gives_the_base_s_licence_and_notice(tmp_path):
    said = "license: other\nlicense_name: stabilityai\nlicense_link: LICENSE.md"
    (tmp_path / "README.md").write_text(f"---\n{said}\n---\n# A base\n")
    (tmp_path / "NOTICE").write_text("Drawings by *somebody*\n---\n# and others\n")
    terms = base_terms(tmp_path)
    front_matter, text = parts(card(terms=terms).render())
    assert [front_matter[name] for name in ("license", "license_name", "license_link")] == [
        *("other", "stabilityai", "LICENSE.md")
    ]
    assert "The base states other, stabilityai: LICENSE.md." in text and "so that of the base" in text
    assert "    Drawings by *somebody*\n    ---\n    # and others\n" in text
    stated, text = parts(card(terms=terms, license="mit").render())
    assert stated["license"] == "mit" and "license_name" not in stated and "The base states other" in text
    for damaged in ("license: [mit", "- mit", "license: {a: b}", "license: 2001-99-99"):
        (tmp_path / "README.md").write_text(f"---\n{damaged}\n---\n")
        assert base_terms(tmp_path).license is None
    assert base_terms(tmp_path / "missing") == BaseTerms()


def test_card_names_files_of_licences_that_come_with_the_base(tmp_path):
    for name in ("LICENSE.md", "NOTICE"):
        (tmp_path / name).write_text("The terms.")
    assert "With it come LICENSE.md, NOTICE." in parts(card(terms=base_terms(tmp_path)).render())[1]


def test_folders_by_condition_are_cut_down_too():
    starts = {"side": {"start_from": "pose=/home/some,one/a,b,seg=/home/someone/lam=0.2"}}
    _, text = parts(card(config=CONFIG | starts).render())
    assert '"start_from": "pose=a,b,seg=lam=0.2"' in text


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


def test_card_says_what_was_measured_and_whether_diffusers_has_such_networks():
    measured = Measured(largest=2.0, rounding=1e-3, difference=1e-6, diffusers_version="0.99.1")
    _, text = parts(card(dtype="float16", measured=measured).render())
    assert "moves a residual by 1.0e-03" in text and "up to 1.0e-06" in text and "0.99.1" in text
    assert "ControlNetModel.from_pretrained(" in text
    _, smaller = parts(card(measured=Measured(in_diffusers=False)).render())
    assert "ControlNetModel.from_pretrained(" not in smaller


def test_card_of_one_file_says_where_web_interfaces_look_for_it():
    _, text = parts(card(original=True, name="seg", names=("pose", "seg")).render())
    assert "`seg.safetensors` is one file in the original layout" in text and "together with `pose.safetensors`" in text
    assert "`models/controlnet`" in text and "`models/ControlNet`" in text
    assert "from_pretrained(" not in text


def test_how_a_network_is_used_is_said_by_its_family():
    front_matter, text = parts(card(usage=PIXEL_USAGE).render())
    assert "stable-diffusion" not in front_matter["tags"] and "there is no pipeline for it" in text
    front_matter, text = parts(card(usage=Usage("video network", ("text-to-video",))).render())
    assert front_matter["tags"] == ["text-to-video", "jax", "lisa"]
    assert "# video network: pose" in text and "A video network for" in text
    assert "lisa_jax samples with it" in text and "ControlNet" not in text


def test_card_beside_a_transformer_on_pixels_names_its_classes_and_its_range():
    front_matter, text = parts(card(usage=stable_diffusion_3.PIXEL_USAGE).render())
    assert "stable-diffusion-3" not in front_matter["tags"] and "there is no pipeline for it" in text
    assert "RGB in [-1, 1]" in text and "in [0, 1]" not in text
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "README.md", "exec")
    assert "SD3ControlNetModel.from_pretrained(" in code and "SD3Transformer2DModel.from_pretrained(" in code


def test_plain_training_is_not_called_lisa():
    front_matter, text = parts(card(config=CONFIG | {"lisa": CONFIG["lisa"] | {"lam": 0.0}}).render())
    assert "lisa" not in front_matter["tags"] and "| alignment loss | none |" in text


def test_base_is_named_by_its_folder_or_hub_cache():
    assert base_name("/bases/sd21") == "sd21"
    assert base_name("/models/dream.shaper_8.safetensors") == "dream.shaper_8"
    assert base_name("an-owner/a-model@v1.0") == "an-owner/a-model"
    assert base_name("/cache/models--an-owner--a-model/snapshots/0123abcd") == "an-owner/a-model"


def test_last_validation_is_that_of_the_exported_step(tmp_path):
    assert last_validation(tmp_path, 8) == ({}, None)
    lines = [{"step": step, "validation/main_loss": step / 10, "validation/main_loss_q1": 0.0} for step in (4, 8, 12)]
    lines.append({"step": 8, "loss": 1.0})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "vali')
    assert last_validation(tmp_path, 11) == ({"main_loss": 0.8}, 8)


ODD = [
    "a\n---\nlicense: mit\n---\n# b",
    "<script>alert(1)</script>",
    "[a](https://b.c) ![](d) `e` *f* _g_ ~~h~~ $i$ #j | k",
    "{{ 7 * 7 }}{% raw %}",
    "- a",
    "\u2028b\x85c\x7f",
    "bytes \udcff",
    "*" * 300,
]


@pytest.mark.parametrize("odd", ODD)
def test_nothing_that_a_name_or_a_licence_holds_is_markup(odd):
    from markdown_it import MarkdownIt

    config = CONFIG | {"base": f"bases/{odd}".replace("/script", "script"), "data": {**CONFIG["data"], "dir": odd}}
    front_matter, text = parts(card(config=config, license=odd, validation={odd: 1.0}, validation_step=1).render())
    assert front_matter["license"] == odd
    assert set(front_matter) == {"license", "base_model", "library_name", "tags"}
    plain = card(config=CONFIG, license="mit", validation={"loss": 1.0}, validation_step=1).render()

    def structure(markdown):
        """Kinds of blocks and of what is in their lines, text apart."""
        blocks = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
        inside = [child.type for block in blocks for child in block.children or () if child.type != "text"]
        return [block.type for block in blocks], inside

    assert structure(text) == structure(parts(plain)[1])


def test_a_hook_of_any_name_stays_code():
    _, text = parts(card(config=CONFIG | {"lisa": CONFIG["lisa"] | {"hook": ("a`b|c", "mid")}}).render())
    assert "at `a'b\\|c`, `mid` |" in text


def test_card_of_stable_diffusion_xl_names_its_pipeline_and_leaves_an_absent_negative_prompt_out():
    sampling = CONFIG["sampling"] | {"negative_prompt": ""}
    text = card(usage=stable_diffusion_xl.USAGE, config=CONFIG | {"sampling": sampling}).render()
    assert "pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(" in text and "own size" in text
    assert "negative_prompt=" not in text and "guidance_scale=7.5," in text


@pytest.mark.parametrize("names", [("pose",), ("pose", "seg")])
def test_card_of_stable_video_diffusion_is_python_that_uses_the_file_beside_it(names, tmp_path):
    sampling = {"sampler": "euler", "num_steps": 25, "guidance_scale": 3, "min_guidance_scale": 1.0}
    scales = {"control_scale": {"pose": 0.5, "seg": 1.0} if len(names) > 1 else 0.5, "control_end": 0.75}
    given = {"usage": stable_video_diffusion.USAGE, "size": (14, 64, 96), "names": names}
    made = card(config=CONFIG | {"sampling": sampling | scales}, conditioning_channels={"pose": 1}, **given)
    write_card(tmp_path, made)
    module = (tmp_path / "temporal_controlnet.py").read_text()
    text = (tmp_path / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    for one in (module, code):
        ast.parse(one)
    assert "frames, size = 14, (96, 64)  # width, height\n" in code and "num_inference_steps=25," in code
    assert "min_guidance_scale=1.0," in code and "max_guidance_scale=3.0," in code
    assert ("scale=0.5)" if len(names) == 1 else "scales = {'pose': 'L', 'seg': 'RGB'}, [0.5, 1.0]") in code
    assert "reads its condition as L in [0, 1], not in [-1, 1], frame by frame" in text
    assert f"to {0.75 if len(names) == 1 else [0.75, 0.75]} of the steps; here" in text
