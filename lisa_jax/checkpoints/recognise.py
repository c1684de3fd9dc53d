"""What lies in the place of a checkpoint that is none: told by names, first bytes and keys, for messages alone."""

import re
from collections.abc import Iterable
from pathlib import Path

from lisa_jax.files.json_object import JsonError, read_object

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_PICKLES = (".ckpt", ".pth", ".pt", ".bin")
_CONTROLNET, _STABLE_DIFFUSION, _VAE = "a ControlNet in one file", "Stable Diffusion in one file", "a VAE in one file"
_CONTROL_LORA = "a Control-LoRA in one file"
# Part of a key -> what a file with such a key is; the first that is found counts.
_KEYS = (
    ("lora_controlnet", _CONTROL_LORA),
    ("lora_", "a LoRA, which changes a base and is none"),
    (".lora.", "a LoRA, which changes a base and is none"),
    ("conditioner.embedders.0.model.", "the refiner of Stable Diffusion XL, which goes over finished pictures"),
    ("edm_mean", "Playground 2.5, whose latents are scaled by channel"),
    ("edm_vpred.", "CosXL, whose noise is that of EDM"),
    ("noise_augmentor.", "Stable unCLIP"),
    ("time_stack.", "Stable Video Diffusion in one file"),
    ("time_embed.cond_proj.", "a latent consistency model (LCM)"),
    ("time_embedding.cond_proj.", "a latent consistency model (LCM)"),
    ("control_add_embedding.", "a ControlNet of several conditions (union)"),
    ("lllite_", "a ControlNet-LLLite, which changes a base as a LoRA does"),
    ("control_model.", _CONTROLNET),
    ("input_hint_block.", _CONTROLNET),
    ("controlnet_", _CONTROLNET),
    ("joint_blocks.", "Stable Diffusion 3 in one file"),
    ("double_blocks.", "Flux in one file"),
    ("model.diffusion_model.", _STABLE_DIFFUSION),
    ("encoder.mid_block.", _VAE),
    ("encoder.mid.block_1.", _VAE),
    ("adapter.", "a T2I-Adapter"),
    ("body.", "a T2I-Adapter"),
    ("down_blocks.", "the weights of one network, without their folder"),
)
# Class in a config.json -> what the folder is.
_CLASSES = {
    "UNet2DConditionModel": "a UNet alone: give the folder that it lies in, with text_encoder/, vae/ and the others",
    "AutoencoderKL": "a VAE alone, not a base: it goes to --vae, or to config.vae, beside one",
    "ControlNetModel": "a ControlNet of a UNet, not a base: it goes to --controlnet, or to config.side.start_from",
    "ControlLoRA": "a Control-LoRA, which is of UNets, not a base: it goes to --controlnet, or to "
    "config.side.start_from",
    "ControlNetUnionModel": "a ControlNet of several conditions (union), which is not supported",
    "LisaJaxSideNetwork": "a side network, not a base: it goes to --controlnet, or to config.side.start_from",
    "T2IAdapter": "a T2I-Adapter, which is not supported",
    "MultiAdapter": "a T2I-Adapter, which is not supported",
    "SD3Transformer2DModel": "a transformer alone: give the folder that it lies in, with text_encoder/, vae/ and "
    "the others",
    "SD3ControlNetModel": "a ControlNet of Stable Diffusion 3, not a base: it goes to --controlnet, or to "
    "config.side.start_from, beside such a base",
    "FluxTransformer2DModel": "the transformer of Flux, which is not supported",
    "FluxControlNetModel": "a ControlNet of Flux, which is not supported",
    "UNetSpatioTemporalConditionModel": "a UNet of Stable Video Diffusion alone: give the folder that it lies in, "
    "with image_encoder/, vae/ and the others",
    "AutoencoderKLTemporalDecoder": "a VAE of Stable Video Diffusion alone: give the folder that it lies in, with "
    "unet/, image_encoder/ and the others",
    "LisaJaxTemporalControlNet": "a ControlNet of Stable Video Diffusion, not a base: it goes to --controlnet, or to "
    "config.side.start_from, beside such a base",
    "ControlNetSDVModel": "a ControlNet of Stable Video Diffusion, not a base: it goes to --controlnet, or to "
    "config.side.start_from, beside such a base",
    "UNet2DModel": "a UNet without text, which is not supported",
}
# Beginning of a pipeline's class -> the model behind it; the first that fits counts.
_PIPELINES = (
    ("StableDiffusionXLInstructPix2Pix", "InstructPix2Pix, whose UNet sees a picture beside the latents"),
    ("StableDiffusionXL", "Stable Diffusion XL"),
    ("StableDiffusion3", "Stable Diffusion 3"),
    ("StableDiffusionInstructPix2Pix", "InstructPix2Pix, whose UNet sees a picture beside the latents"),
    ("StableDiffusionUpscale", "an upscaler, whose UNet sees a picture beside the latents"),
    ("StableDiffusionLatentUpscale", "an upscaler"),
    ("StableDiffusionDepth2Img", "Stable Diffusion with depth, whose UNet sees it beside the latents"),
    ("StableUnCLIP", "Stable unCLIP"),
    ("StableVideoDiffusion", "Stable Video Diffusion"),
    ("StableDiffusion", "Stable Diffusion"),
    ("StableCascade", "Stable Cascade"),
    ("LatentConsistency", "a latent consistency model (LCM)"),
    ("Kandinsky", "Kandinsky"),
    ("Flux", "Flux"),
    ("PixArt", "PixArt"),
    ("IF", "DeepFloyd IF"),
)


def what_else(path: Path) -> str | None:
    """What a file is that should hold JSON or weights, as a sentence begins; None: nothing that is known."""
    # Opening a pipe would never end.
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        return f"{path} is empty"
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is a pointer of Git LFS in place of the file (`git lfs pull` in its folder gets it)"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"{path} is a web page in place of the file"
    if start.startswith(b"pk\x03\x04") or start[:1] == b"\x80":
        return f"{path} is a pickle of PyTorch, which can execute code, and is not read"
    return None


def no_pipeline(class_name: str, known: Iterable[str]) -> str:
    """What a pipeline's class is that is none of the `known` ones, as a sentence goes on behind "names"."""
    start, model = next(((start, model) for start, model in _PIPELINES if class_name.startswith(start)), ("", ""))
    known, usual = list(known), f"{start}Pipeline"
    if start and usual in known:
        return (
            f"a {class_name[:80]}, another pipeline of {model}: if its parts are those of a base, name {usual} there."
        )
    return f"a {class_name[:80]}{f' ({model})' if model else ''}, which is not supported: {', '.join(known)} are."


def what_class(class_name: str) -> str | None:
    """What a folder is whose config.json names a class, None where it is not known."""
    return _CLASSES.get(class_name)


def what_keys(keys: Iterable[str]) -> str | None:
    """What a file of weights is by its keys, None where it is not known."""
    keys = list(keys)
    return next((what for part, what in _KEYS if any(part in key for key in keys)), None)


def no_folder(path: Path) -> str:
    """What to do where a folder is asked for and `path` is none."""
    if path.is_file():
        return _single_file(path)
    if path.exists():
        return f"{path} is no folder: give that of a checkpoint, as diffusers or transformers writes it."
    missing = f"{path} is missing: give the folder of a checkpoint, as diffusers or transformers writes it"
    # Commands make what they are given absolute.
    name = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    if _HUB_ID.fullmatch(name):
        missing += f". If it is a repository of the hub: hf download {name} --local-dir FOLDER, and give FOLDER"
    return f"{missing}."


def no_base(folder: Path) -> str:
    """What a folder is that has neither model_index.json nor unet/, or a file without a UNet, and what to give."""
    if folder.is_file():
        return (
            f"{folder} is no base: a ControlNet goes to --controlnet, or to config.side.start_from, a VAE to --vae, or "
            "to config.vae."
        )
    if (folder / "adapter_config.json").is_file() or any(folder.glob("*lora*.safetensors")):
        return f"{folder} is a LoRA, which changes a base and is none: give the folder of a base."
    if (kind := what_class(_class_of(folder))) is not None:
        return f"{folder} is {kind}."
    files = sorted(path for path in folder.glob("*") if path.suffix in (".safetensors", *_PICKLES) and path.is_file())
    if files and not (folder / "config.json").is_file():
        return f"{folder} holds no folder of a checkpoint. {_single_file(files[0])}"
    return (
        f"{folder} is no base: model_index.json and unet/config.json are missing. Give the folder of a checkpoint, as "
        "diffusers writes it."
    )


def no_side_network(folder: Path, class_name: str, wanted: str) -> str | None:
    """What a folder is whose config.json names no side network, or a file without one; None where it is not known.

    `wanted`: classes of the side networks that go beside the base.
    """
    if folder.is_file() and not class_name:
        return f"{folder} is a base or a VAE, not a side network: give a ControlNet."
    if (folder / "model_index.json").is_file() or (folder / "unet").is_dir():
        return f"{folder} is a whole base, not a side network: give the folder of a ControlNet."
    if (folder / "adapter_config.json").is_file() or any(folder.glob("*lora*.safetensors")):
        return f"{folder} is a LoRA, not a side network: give the folder of a ControlNet."
    if (kind := what_class(class_name)) is not None and class_name:
        what = kind.partition(":")[0].partition(", not a base")[0]
        return f"{folder} is {what}, but beside this base goes a {wanted}."
    return None


def _class_of(folder: Path) -> str:
    try:
        return str(read_object(folder / "config.json").get("_class_name", ""))
    except (OSError, JsonError):
        return ""


def no_single_file(path: Path, keys: Iterable[str]) -> str | None:
    """What a safetensors file is that is not read as a base or a ControlNet, None where it may be one."""
    keys = list(keys)
    if any(key.removeprefix("control_model.") == "difference" for key in keys):
        return f"{path} holds the differences of a ControlNet from a base, not its weights: give the whole ControlNet."
    kind = what_keys(keys)
    if kind in (_CONTROLNET, _CONTROL_LORA, _STABLE_DIFFUSION, _VAE, None):
        return None
    return f"{path} is {kind}: of single files, Stable Diffusion 1, 2 and XL and their ControlNets are supported."


def _single_file(path: Path) -> str:
    """What to do with a file that is given for a folder, or lies in one that is."""
    if path.suffix == ".safetensors":
        return f"There is {path.name} in it: give the file, {path}."
    if path.suffix not in _PICKLES:
        return f"{path} is no folder: give that of a checkpoint, as diffusers or transformers writes it."
    return (
        f"{path} is a pickle, which can execute code and is not read: convert it once in Python: import torch, "
        f"safetensors.torch as st; w = torch.load({path.name!r}, map_location='cpu', weights_only=True); "
        "st.save_file({k: v.clone() for k, v in w.get('state_dict', w).items() if torch.is_tensor(v)}, "
        f"{path.with_suffix('.safetensors').name!r}), and give that file."
    )
