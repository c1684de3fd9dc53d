"""CLIP score against transformers: both towers, the preprocessing, and the score of a whole folder."""

import json
import shutil

import jax
import numpy as np
import pytest
import torch
from tiny_sd import write_tokenizer
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.clip import CLIP, read_clip_preprocessing
from lisa_jax.evaluation.clip_score import clip_scores, embed_captions, embed_images, load_clip, preprocess
from lisa_jax.models.clip import CLIPModel as OurModel

LENGTH = 77
VOCABULARY = 600
CAPTIONS = ["a photo of a red cat", "dog!", "a cat, a dog and a very long list of other things " * 10, ""]
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
STYLES = {
    # Published CLIPs of OpenAI: quick GELU, eos_token_id 2. LAION's: GELU. 35 px is no multiple of the patch.
    "openai": {"hidden_act": "quick_gelu", "image_size": 32, "patch_size": 8, "eos_token_id": 2},
    "laion": {"hidden_act": "gelu", "image_size": 35, "patch_size": 16, "eos_token_id": None},
}


def build_clip(folder, style):
    """A tiny CLIP of random weights as transformers writes it; returns transformers' model."""
    values = STYLES[style]
    write_tokenizer(folder, "sd15")
    end = CLIPTokenizer.from_pretrained(folder).eos_token_id
    common = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": values["hidden_act"]}
    text = {"hidden_size": 16, "intermediate_size": 32, "vocab_size": VOCABULARY, "max_position_embeddings": LENGTH}
    vision = {"hidden_size": 24, "intermediate_size": 40} | {
        name: values[name] for name in ("image_size", "patch_size")
    }
    config = CLIPConfig(
        text_config=common | text | {"eos_token_id": values["eos_token_id"] or end},
        vision_config=common | vision,
        projection_dim=12,
    )
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    size = values["image_size"]
    CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, image_mean=MEAN, image_std=STD
    ).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """style -> (folder, transformers' model)."""
    made = {}
    for style in STYLES:
        folder = tmp_path_factory.mktemp(style)
        made[style] = folder, build_clip(folder, style)
    return made


@pytest.fixture
def folder(folders, tmp_path):
    """A copy to break."""
    return shutil.copytree(folders["openai"][0], tmp_path / "clip")


def pictures(height=40, width=61):
    """Noise about four very different colours, so that embeddings differ."""
    noise = np.random.default_rng(0).integers(-40, 40, (len(CAPTIONS), height, width, 3))
    colours = np.array([[255, 0, 0], [0, 0, 255], [255, 255, 255], [0, 128, 0]])
    return np.clip(colours[:, None, None] + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("style", STYLES)
def test_both_towers_equal_transformers(folders, style):
    folder, model = folders[style]
    config, params = CLIP.read(open_checkpoint(folder))
    size = config.vision.image_size
    pixels = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    ids = CLIPTokenizer.from_pretrained(folder)(CAPTIONS[:2], padding="max_length", return_tensors="pt").input_ids
    apply = jax.jit(OurModel(config).apply)
    texts, images = apply({"params": params}, ids.numpy(), pixels)
    with torch.no_grad():
        expected = model(input_ids=ids, pixel_values=torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
    for name, ours, theirs in (("text", texts, expected.text_embeds), ("image", images, expected.image_embeds)):
        ours = ours / np.linalg.norm(ours, axis=-1, keepdims=True)  # as transformers returns them
        difference = np.abs(ours - theirs.numpy()).max()
        print(f"{style} {name} embeddings: max abs diff {difference:.2e}")
        assert difference < 2e-6, name


@pytest.mark.parametrize(("height", "width"), [(40, 61), (97, 33), (20, 21), (32, 32)])
def test_preprocessing_equals_transformers(folders, height, width):
    folder = folders["openai"][0]
    images = pictures(height, width)
    expected = CLIPImageProcessorPil.from_pretrained(folder)(list(images), return_tensors="np")["pixel_values"]
    ours = preprocess(images, read_clip_preprocessing(open_checkpoint(folder)))
    assert ours.dtype == np.float32
    assert np.abs(ours - expected.transpose(0, 2, 3, 1)).max() < 1e-6


@pytest.mark.parametrize("style", STYLES)
def test_scores_equal_transformers(folders, style):
    """From pictures and captions to numbers, with a last batch that is not full."""
    folder, model = folders[style]
    images = pictures()
    tokens = CLIPTokenizer.from_pretrained(folder)(
        CAPTIONS, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        # No mask: padding after the end-of-text token is not seen by it.
        expected = model(input_ids=tokens.input_ids, pixel_values=pixels)
    cosine = torch.sum(expected.image_embeds * expected.text_embeds, -1).numpy()
    clip = load_clip(folder)
    opposite = clip._replace(params=clip.params | {"visual_projection": {"kernel": -kernel_of(clip)}})
    for scored, wanted in ((clip, cosine), (opposite, -cosine)):
        scores = clip_scores(scored, images, CAPTIONS, batch_size=3)
        difference = np.abs(scores - 100 * np.maximum(wanted, 0)).max()
        print(f"{style} scores {np.round(scores, 2)}: max abs diff {difference:.2e}")
        assert difference < 2e-4
    assert np.ptp(cosine) > 0.01


def kernel_of(clip):
    return clip.params["visual_projection"]["kernel"]


def test_batches_do_not_change_embeddings(folders):
    clip = load_clip(folders["openai"][0])
    images = pictures()
    np.testing.assert_allclose(embed_images(clip, images, 3), embed_images(clip, images, 4), atol=1e-5)
    np.testing.assert_allclose(embed_captions(clip, CAPTIONS, 3), embed_captions(clip, CAPTIONS, 4), atol=1e-5)


def test_older_files_give_the_same_network(folder):
    """Files of 2021 to 2023: `position_ids`, `..._config_dict` that wins, plain numbers as sizes, integer logit."""
    config, preprocessing = CLIP.config(open_checkpoint(folder)), read_clip_preprocessing(open_checkpoint(folder))
    settings = json.loads((folder / "config.json").read_text())
    for tower in ("text", "vision"):
        settings[f"{tower}_config_dict"] = settings[f"{tower}_config"]
        settings[f"{tower}_config"] = settings[f"{tower}_config"] | {"num_hidden_layers": 7}
    (folder / "config.json").write_text(json.dumps(settings))
    steps = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(steps | {"size": 32, "crop_size": 32}))
    assert CLIP.config(open_checkpoint(folder)) == config
    assert read_clip_preprocessing(open_checkpoint(folder)) == preprocessing


def test_newer_processor_file_is_read(folder):
    expected = read_clip_preprocessing(open_checkpoint(folder))
    steps = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": steps}))
    assert read_clip_preprocessing(open_checkpoint(folder)) == expected
    assert expected.mean == tuple(MEAN)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", {"model_type": "siglip"}, "config.json: model_type is 'siglip', not 'clip'"),
        ("config.json", {"model_type": "clip_text_model"}, "text and image tower"),
        ("config.json", {"projection_dim": "wide"}, "projection_dim 'wide'"),
        ("config.json", {"vision_config": {"hidden_act": "relu"}}, "image encoder config: hidden_act 'relu'"),
        ("config.json", {"vision_config": {"num_channels": 4}}, "num_channels 4"),
        ("preprocessor_config.json", {"resample": 2}, "resample 2 is not supported, only 3"),
        ("preprocessor_config.json", {"do_center_crop": False}, "do_center_crop False"),
        ("preprocessor_config.json", {"size": {"height": 32, "width": 32}}, "shortest_edge"),
        ("preprocessor_config.json", {"crop_size": 24}, "cropped to 24 px, but the image tower takes 32"),
        ("preprocessor_config.json", {"crop_size": 64}, "larger than the resized picture"),
        ("preprocessor_config.json", {"rescale_factor": 1.0}, "rescale_factor 1.0"),
        ("preprocessor_config.json", {"rescale_factor": "1/255"}, "rescale_factor '1/255'"),
        ("preprocessor_config.json", {"size": [32]}, r"size \[32\] is not supported"),
        ("preprocessor_config.json", {"crop_size": {"height": [], "width": []}}, r"crop_size \[\] is not supported"),
        ("preprocessor_config.json", {"image_std": [1, 1, 0]}, r"image_std \(1, 1, 0\) is not supported"),
        ("preprocessor_config.json", {"image_mean": 0.5}, "image_mean 0.5 is not supported"),
        ("config.json", {"text_config": "small"}, "text_config 'small' is no object"),
    ],
)
def test_unsupported_settings_are_refused_by_name(folder, name, change, message):
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load_clip(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json", "merges.txt"])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_clip(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("eos_token_id", 5, "pools at token 5"), ("vocab_size", 100, "text tower only 100")],
)
def test_tokenizer_that_does_not_fit_is_refused(folder, field, value, message, monkeypatch):
    settings = json.loads((folder / "config.json").read_text())
    settings["text_config"][field] = value
    (folder / "config.json").write_text(json.dumps(settings))
    for name in ("read_params", "check_tensors"):
        monkeypatch.setattr(f"lisa_jax.checkpoints.component.{name}", lambda *args, **kwargs: {})
    with pytest.raises(CheckpointError, match=message):
        load_clip(folder)


def test_inputs_are_checked(folders):
    clip = load_clip(folders["openai"][0])
    with pytest.raises(ValueError, match="4 pictures but 1 captions"):
        clip_scores(clip, pictures(), ["one"])
    with pytest.raises(ValueError, match="uint8"):
        clip_scores(clip, pictures().astype(np.float32), CAPTIONS)
    with pytest.raises(ValueError, match="no pictures"):
        clip_scores(clip, pictures()[:0], [])
