"""A checkpoint with another VAE in place of its own, such as one that was mended or tuned for it."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from lisa_jax.checkpoints.config_files import CONFIG_FILE
from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.single_file import SingleFile
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS, StoredTensor
from lisa_jax.files.sha256 import sha256_of

_VAE = "vae"
# What makes latents of one VAE those of another.
_OF_LATENTS = ("latent_channels", "downsampling", "scaling_factor", "shift_factor")


@dataclasses.dataclass(frozen=True)
class WithVAE(Checkpoint):
    """A checkpoint whose component `vae` is taken from another one.

    Attributes:
      base: all the rest.
      other: has the VAE.
      place: where in it: as its component `vae`, or "" where it is nothing else.
    """

    base: Checkpoint
    other: Checkpoint
    place: str

    def _at(self, component: str) -> tuple[Checkpoint, str]:
        return (self.other, self.place) if component == _VAE else (self.base, component)

    def where(self, component: str = "", name: str = "") -> str:
        """See `Checkpoint.where`."""
        source, place = self._at(component)
        return source.where(place, name)

    def has(self, component: str) -> bool:
        """See `Checkpoint.has`."""
        return component == _VAE or self.base.has(component)

    def has_config(self, component: str = "", name: str = CONFIG_FILE) -> bool:
        """See `Checkpoint.has_config`."""
        source, place = self._at(component)
        return source.has_config(place, name)

    def file(self, component: str, name: str) -> Path | None:
        """See `Checkpoint.file`."""
        source, place = self._at(component)
        return source.file(place, name)

    def config(self, component: str = "", name: str = CONFIG_FILE) -> dict:
        """See `Checkpoint.config`; what a VAE's file does not say of it is as of the base's own."""
        source, place = self._at(component)
        found = source.config(place, name)
        lacks = component == _VAE and isinstance(source, SingleFile) and self.base.has(_VAE)
        return self.base.config(_VAE, name) | found if lacks else found

    def tensors(self, component: str = "", stem: str = DIFFUSERS_WEIGHTS) -> dict[str, StoredTensor]:
        """See `Checkpoint.tensors`."""
        source, place = self._at(component)
        return source.tensors(place, stem)

    def fingerprint(self, components: Mapping[str, str | None]) -> str:
        """See `Checkpoint.fingerprint`; the VAE counts by its config and weights, not by its name."""
        own = {name: stem for name, stem in components.items() if name != _VAE}
        digest = hashlib.sha256(bytes.fromhex(self.base.fingerprint(own)))
        digest.update(json.dumps(self.config(_VAE), sort_keys=True).encode())
        for path in sorted({tensor.path for tensor in self.tensors(_VAE).values()}):
            digest.update(bytes.fromhex(sha256_of(path)))
        return digest.hexdigest()

    def copy(self, component: str, target: str | Path) -> None:
        """See `Checkpoint.copy`; a VAE is written as diffusers writes it."""
        if component == _VAE:
            VAE.write(target, *VAE.read(self, _VAE))
        else:
            self.base.copy(component, target)


def with_vae(base: Checkpoint, other: Checkpoint) -> WithVAE:
    """A base with the VAE of another checkpoint: one of a VAE alone, or of a whole base.

    Raises:
      CheckpointError: it is no VAE, or its latents are not those of the base's own VAE, by field.
    """
    found = WithVAE(base.folder, base, other, _VAE if other.has(_VAE) else "", left_out=base.left_out)
    config = VAE.config(found, _VAE)
    if base.has(_VAE):
        own = VAE.config(base, _VAE)
        for name in _OF_LATENTS:
            if getattr(config, name) != getattr(own, name):
                raise CheckpointError(
                    f"{found.where(_VAE)} has {name} {getattr(config, name)}, but {base.where(_VAE)} "
                    f"{getattr(own, name)}: it is a VAE of another base."
                )
    return found
