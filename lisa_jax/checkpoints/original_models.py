"""What neither names nor shapes tell of a base in one file, for they are those of several: it goes by the model."""

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from lisa_jax.checkpoints.original_layouts import Part

# Tensors without content by which files of Stable Diffusion XL say that the network predicts v, and that the last step
# of its noise process is noise alone.
_PREDICTS_V, _ZERO_SNR = "v_pred", "ztsnr"
# Of every Stable Diffusion.
_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}


@dataclasses.dataclass(frozen=True)
class Model:
    """A kind of base.

    Attributes:
      pipeline: class of diffusers' pipeline for it.
      scheduler: fields of its `scheduler_config.json`, without `prediction_type` where nothing tells it.
      sides: what the network predicts -> side of the latents in training.
      fields: component -> fields of its `config.json`.
    """

    pipeline: str
    scheduler: Mapping[str, Any]
    sides: Mapping[str, int]
    fields: Mapping[str, Mapping[str, Any]]


_STABLE_DIFFUSION = Model(
    "StableDiffusionPipeline",
    _BETAS | {"_class_name": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1},
    {"epsilon": 64, "v_prediction": 96},
    {"vae": {"scaling_factor": 0.18215, "sample_size": 512}},
)
_STABLE_DIFFUSION_XL = Model(
    "StableDiffusionXLPipeline",
    _BETAS | {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", "steps_offset": 1},
    {"epsilon": 128, "v_prediction": 128},
    {"vae": {"scaling_factor": 0.13025, "sample_size": 1024}},
)


def model_of(names: Collection[str], parts: Mapping[str, Part]) -> Model:
    """The model that a file is of, by the names of its tensors and by what it holds."""
    if "unet" not in parts:
        # A VAE alone, which is the same for several models, or a ControlNet.
        return dataclasses.replace(_STABLE_DIFFUSION, fields={})
    unet = parts["unet"].fields
    if unet.get("addition_embed_type") is not None:
        predicts = {"prediction_type": "v_prediction" if _PREDICTS_V in names else "epsilon"}
        return _with_scheduler(_STABLE_DIFFUSION_XL, predicts | {"rescale_betas_zero_snr": _ZERO_SNR in names})
    if unet.get("use_linear_projection"):
        # Of Stable Diffusion 2, one half predicts the noise and the other v.
        return _STABLE_DIFFUSION
    return _with_scheduler(_STABLE_DIFFUSION, {"prediction_type": "epsilon"})


def _with_scheduler(model: Model, fields: Mapping[str, Any]) -> Model:
    return dataclasses.replace(model, scheduler=MappingProxyType({**model.scheduler, **fields}))
