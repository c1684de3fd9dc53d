"""The tiny Stable Diffusion 3 is one to diffusers, whose pipeline draws with a ControlNet beside each transformer."""

import numpy as np
import pytest
import torch
from diffusers import SD3ControlNetModel, StableDiffusion3ControlNetPipeline
from PIL import Image
from tiny_sd3 import IMAGE_SIZE, build_tiny_sd3


@pytest.mark.parametrize(("style", "t5"), [("sd3-medium", False), ("sd3.5-medium", True), ("sd3.5-large", True)])
def test_the_pipeline_draws_with_a_controlnet(tmp_path, style, t5):
    build_tiny_sd3(tmp_path, style, t5=t5)
    left_out = {} if t5 else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = StableDiffusion3ControlNetPipeline.from_pretrained(tmp_path, controlnet=None, **left_out)
    controlnet = SD3ControlNetModel.from_transformer(
        pipeline.transformer, num_layers=2, num_extra_conditioning_channels=0
    )
    pipeline.register_modules(controlnet=controlnet)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(
        "a cat",
        control_image=Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), "white"),
        height=IMAGE_SIZE,
        width=IMAGE_SIZE,
        num_inference_steps=1,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    assert drawn.shape == (1, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert np.isfinite(drawn).all() and drawn.std() > 0.01
