"""Stable Diffusion 1, 2 and XL, a VAE, or a ControlNet, in one `.safetensors`, as web interfaces share them.

Such a file has weights alone. What it lacks, the tokenizer always, is taken from the folder beside it that has its name
without ending; what a `config.json` would say is told by the shapes of the tensors and by the kind of base, unless it
lies in that folder.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lisa_jax.checkpoints.clip_text import CLIP_TEXT, CLIP_TEXT_WITH_PROJECTION
from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.config_files import CONFIG_FILE, write_config
from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.original_layouts import Part, parts_of
from lisa_jax.checkpoints.original_models import Model, model_of
from lisa_jax.checkpoints.recognise import no_single_file
from lisa_jax.checkpoints.scheduler import SCHEDULER_CONFIG
from lisa_jax.checkpoints.tokenizer_files import read_tokenizer_files
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS, StoredTensor, tensors_of
from lisa_jax.files.sha256 import sha256_of

_INDEX = "model_index.json"
_NETWORKS: Mapping[str, Component] = {
    "unet": UNET,
    "vae": VAE,
    "text_encoder": CLIP_TEXT,
    "text_encoder_2": CLIP_TEXT_WITH_PROJECTION,
}
# Prefix of OpenCLIP's text encoder in a file -> the tokenizer that goes with it.
_OPENCLIP = {"cond_stage_model.model.": "tokenizer", "conditioner.embedders.1.model.": "tokenizer_2"}
_WITH_OPENCLIP = {"tokenizer": "a Stable Diffusion 2", "tokenizer_2": "a Stable Diffusion XL"}


@dataclasses.dataclass(frozen=True)
class SingleFile(Checkpoint):
    """A file laid over a folder.

    Attributes:
      folder: has what the file lacks, each as diffusers or transformers writes it; it need not be there.
      path: the file.
      parts: component -> what the file holds of it.
      model: what kind of base it is, where it is one.
    """

    path: Path
    parts: Mapping[str, Part]
    model: Model

    def where(self, component: str = "", name: str = "") -> str:
        """See `Checkpoint.where`; a part of the file goes by the names of its tensors."""
        if not component:
            return str(self.path)
        if component in self.parts:
            return f"{self.path} ({self.parts[component].prefix}*)"
        return super().where(component, name)

    def has(self, component: str) -> bool:
        """Whether there is such a component, in the file or in the folder."""
        return component in self.parts or super().has(component)

    def has_config(self, component: str = "", name: str = CONFIG_FILE) -> bool:
        """Whether there is a config of a component, told by tensors or written; of a base there is always an index."""
        told = "unet" if name == _INDEX else component
        return told in self.parts or super().has_config(component, name)

    def config(self, component: str = "", name: str = CONFIG_FILE) -> dict:
        """A JSON file of a component: that of the folder, where it is there, else what the tensors tell.

        Raises:
          CheckpointError: neither, with what belongs there; a file that is not JSON; or a Stable Diffusion 2 of which
            nothing says what it predicts.
        """
        if component == "scheduler":
            return self._scheduler()
        is_there = self.file(component, name) is not None
        if name == _INDEX and "unet" in self.parts:
            written = super().config(component, name) if is_there else {}
            return written | {"_class_name": self.model.pipeline}
        if is_there:
            return super().config(component, name)
        if component in self.parts and name == CONFIG_FILE:
            return dict(self.parts[component].fields) | self._fields_of_model(component)
        raise CheckpointError(
            f"{self.path} has no {component or 'ControlNet'}, and {self.folder / component / name} is missing: put the "
            f"folder {component}/ of the model that the file descends from, as diffusers writes it, into {self.folder}."
        )

    def tensors(self, component: str = "", stem: str = DIFFUSERS_WEIGHTS) -> dict[str, StoredTensor]:
        """Tensors of a component by today's names, of the file or else of the folder, see `Checkpoint.tensors`."""
        return dict(self.parts[component].tensors) if component in self.parts else super().tensors(component, stem)

    def fingerprint(self, components: Mapping[str, str | None]) -> str:
        """SHA-256 over the file and what is read of the folder, see `Checkpoint.fingerprint`."""
        beside = {name: None if name in self.parts else stem for name, stem in components.items()}
        digest = hashlib.sha256(bytes.fromhex(sha256_of(self.path)))
        digest.update(bytes.fromhex(super().fingerprint(beside)))
        return digest.hexdigest()

    def copy(self, component: str, target: str | Path) -> None:
        """Write a component into the folder `target`, which is made where it is missing, as diffusers writes it."""
        if component == "scheduler":
            write_config(target, self._scheduler(), name=SCHEDULER_CONFIG)
        elif component in self.parts:
            network = _NETWORKS[component]
            network.write(target, *network.read(self, component))
        else:
            super().copy(component, target)

    def _fields_of_model(self, component: str) -> dict[str, Any]:
        if component == "unet":
            return {"sample_size": self.model.sides.get(self._scheduler()["prediction_type"])}
        return dict(self.model.fields.get(component, {}))

    def _scheduler(self) -> dict[str, Any]:
        written = self.file("scheduler", SCHEDULER_CONFIG)
        read = {} if written is None else super().config("scheduler", SCHEDULER_CONFIG)
        fields = {**self.model.scheduler, **read}
        if "prediction_type" in fields:
            return fields
        raise CheckpointError(
            f"{self.path} is a Stable Diffusion 2, whose file does not say what it predicts: write "
            '{"prediction_type": "epsilon"} (512 px: 2.0-base, 2.1-base) or {"prediction_type": "v_prediction"} '
            f"(768 px: 2.0, 2.1) into {self.folder / 'scheduler' / SCHEDULER_CONFIG}."
        )


def open_single_file(path: Path, folder: Path) -> SingleFile:
    """Open a `.safetensors` file, with what it lacks from a folder; only its header is read.

    Raises:
      CheckpointError: a file that is not whole, or that holds neither Stable Diffusion 1, 2 or XL nor a ControlNet
        or VAE of them: what it is is named.
    """
    tensors = {tensor.name: tensor for tensor in tensors_of(path)}
    if (told := no_single_file(path, tensors)) is not None:
        raise CheckpointError(told)
    parts = parts_of(tensors)
    if not parts:
        raise CheckpointError(f"{path} holds neither a Stable Diffusion 1, 2 or XL nor a ControlNet or VAE of one.")
    found = SingleFile(folder, path, parts, model_of(tensors, parts))
    for part in parts.values():
        if part.prefix in _OPENCLIP and found.has(_OPENCLIP[part.prefix]):
            _check_padding(found, _OPENCLIP[part.prefix])
    return found


def _check_padding(checkpoint: SingleFile, tokenizer: str) -> None:
    """Refuse a tokenizer that pads otherwise than OpenCLIP, whose text encoder the file has."""
    files = read_tokenizer_files(checkpoint, tokenizer)
    pad = files.named["pad_token"]
    content = pad if isinstance(pad, str) else pad["content"]
    if files.vocab.get(content) != 0:
        raise CheckpointError(
            f"{checkpoint.where(tokenizer)} pads captions with {content!r}, but {checkpoint.path} has OpenCLIP's "
            f"text encoder, which was trained with '!', token 0: take the {tokenizer}/ of {_WITH_OPENCLIP[tokenizer]}."
        )
