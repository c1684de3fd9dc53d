"""Values of configs that others wrote: whatever stands in a field, it is read or refused by name, before it is used."""

import pytest

from lisa_jax.checkpoints.checkpoint import CheckpointError
from lisa_jax.checkpoints.clip_text import CLIP_TEXT
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.sd3_controlnet import SD3_CONTROLNET
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.checkpoints.side_network import SMALL_CONTROLNET
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families.presets import preset_of
from lisa_jax.models.config_fields import MOST_LAYERS
from lisa_jax.models.sd3_controlnet import SD3ControlNetConfig
from lisa_jax.models.sd3_transformer import SD3TransformerConfig
from lisa_jax.models.small_controlnet import small_controlnet_config

SD15 = preset_of("tiny_sd15")
CONFIGS = {
    "unet": (UNET, SD15.unet),
    "vae": (VAE, SD15.vae),
    "text": (CLIP_TEXT, SD15.text),
    "controlnet": (CONTROLNET, SD15.controlnet),
    "sd3_controlnet": (SD3_CONTROLNET, SD3ControlNetConfig()),
    "sd3_transformer": (SD3_TRANSFORMER, SD3TransformerConfig()),
    "small": (SMALL_CONTROLNET, small_controlnet_config(SD15.controlnet, (8, 8), 1)),
}
NONSENSE = (-1, 0, 1.5, 10**12, 10**400, float("nan"), float("inf"), "8", "", True, None, [], [[8]], [1] * 10**5, {})


@pytest.mark.parametrize(("component", "config"), CONFIGS.values(), ids=CONFIGS)
def test_nonsense_in_a_field_is_refused_by_its_name_or_leaves_a_network_of_sane_size(component, config):
    written = component.config_file.fields(config)
    for name in (*written, "a_field_of_tomorrow"):
        for value in NONSENSE:
            try:
                found = component.config_file.parse(written | {name: value})
            except CheckpointError as error:
                assert name in str(error) or "block_out_channels" in str(error), (name, error)
                assert len(str(error)) < 500 and "\n" not in str(error)
            else:
                assert found.layers <= MOST_LAYERS


@pytest.mark.parametrize(
    ("component", "name", "value", "message"),
    [
        (UNET, "layers_per_block", 10**7, "must be a whole number, 1 to 32"),
        (UNET, "block_out_channels", [8] * 11, "8.*must be a list of each a whole number.* 1 to 10 of them"),
        (UNET, "transformer_layers_per_block", 64, "layers in all are not supported: at most 256"),
        (UNET, "cross_attention_dim", 2**40, "must be a whole number, 1 to 65,536"),
        (UNET, "norm_eps", "1e-5", "must be a number"),
        (UNET, "use_linear_projection", "false", "must be true or false"),
        (UNET, "conv_in_kernel", 4, "an even one changes the size"),
        (CLIP_TEXT, "num_hidden_layers", 10**7, "must be a whole number, 1 to 64"),
        (VAE, "scaling_factor", float("nan"), "must be a number"),
        (SD3_CONTROLNET, "pos_embed_type", "rope", "'rope' is not supported: only 'sincos' or null"),
        (SD3_CONTROLNET, "pos_embed_max_size", None, "give the size of its table"),
        (SD3_TRANSFORMER, "qk_norm", "layer_norm", "'layer_norm' is not supported: only 'rms_norm' or null"),
        (SD3_TRANSFORMER, "caption_projection_dim", 8, "must be num_attention_heads x attention_head_dim, 1152"),
        (SD3_TRANSFORMER, "pos_embed_max_size", None, "only side networks may be without"),
        (SD3_TRANSFORMER, "sample_size", 1, "patch_size 2 is larger than sample_size 1"),
    ],
)
def test_a_sentence_says_what_a_field_must_be(component, name, value, message):
    config = next(config for other, config in CONFIGS.values() if other is component)
    with pytest.raises(CheckpointError, match=message):
        component.config_file.parse(component.config_file.fields(config) | {name: value})
