"""Export a trained side network as a ControlNet folder that diffusers loads, or a file for web interfaces, with a card.

    python -m lisa_jax export --workdir=DIR --out=OUT [--format=diffusers|original] [--weights=ema|raw|best]
                              [--dtype=float16|bfloat16] [--verify] [--license=NAME] [--samples=grid.png|N]
                              [--push_to=OWNER/NAME [--private]]

Writes config.json, diffusion_pytorch_model.safetensors, README.md and, where the run drew previews, samples.png;
`diffusers.ControlNetModel.from_pretrained(OUT)` reads such a folder. Side networks that were trained together go to
OUT/<name> each. The alignment decoder is not part of it: sampling needs none.

--format=original writes NAME.safetensors in place of config and weights, NAME being the condition's: the layout that
ComfyUI (models/controlnet), A1111 and Forge (models/ControlNet) read, and --controlnet and config.side.start_from too.

--verify runs the folder in diffusers, where that is installed, on random inputs of the run's sizes in float32, prints
the largest difference of a residual from ours, and fails where it is more than 1e-4 of the largest residual.

--push_to uploads what was written to a repository of the Hugging Face hub, which is made, public unless --private says
otherwise, where it is missing.
"""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
from absl import flags

from lisa_jax.commands._condition_module import CONDITION_MODULE
from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.base import example_size
from lisa_jax.experiments.conditions import condition_names
from lisa_jax.experiments.kinds import Text
from lisa_jax.experiments.saved_run import WEIGHTS, TrainedRun, load_run
from lisa_jax.exporting.model_card import PICTURE, ModelCard, last_validation, write_card
from lisa_jax.exporting.push import check_repository, push
from lisa_jax.exporting.samples import card_picture
from lisa_jax.families.export_check import TOLERANCE, Measured, require_diffusers, round_params
from lisa_jax.files.lock import Lock
from lisa_jax.files.whole_file import write_whole

_LOG = logging.getLogger("lisa_jax")
_WORKDIR = DEFINE_checked("workdir", None, "Work directory of a training run.", Folder())
_OUT = DEFINE_checked("out", None, "Folder for the ControlNet.", Folder())
_WEIGHTS = flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters to write.")
_FORMAT = flags.DEFINE_enum(
    "format", "diffusers", ["diffusers", "original"], "A folder for diffusers, or one file for web interfaces."
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16", "bfloat16"], "Dtype of the weights in the file.")
_VERIFY = flags.DEFINE_bool("verify", False, "Compare the folder in diffusers with the trained parameters.")
_LICENSE = DEFINE_checked("license", None, "For the model card: a hub's name of a licence, as openrail++.", Text())
_SAMPLES = DEFINE_checked(
    "samples",
    None,
    "For the model card: a picture, or how many to sample; the run's newest preview by default.",
    Text(),
)
_PUSH_TO = DEFINE_checked("push_to", None, "Repository of the Hugging Face hub, owner/name, to upload to.", Text())
_PRIVATE = flags.DEFINE_bool("private", False, "Where --push_to makes the repository, only its owner sees it.")


def main() -> None:
    if _PUSH_TO.value is not None:
        check_repository(_PUSH_TO.value)
    elif _PRIVATE.value:
        raise ValueError("--private is for --push_to=OWNER/NAME, which is missing.")
    if _VERIFY.value:
        require_diffusers()
    run, out, dtype = load_run(_WORKDIR.value, _WEIGHTS.value), Path(_OUT.value), jnp.dtype(_DTYPE.value)
    if _FORMAT.value == "original" and run.family.write_original is None:
        raise ValueError(
            f"No web interface reads a {run.family.usage.kind} of such a base: export with --format=diffusers."
        )
    # Before anything is written, for it refuses what does not fit the dtype.
    round_params(run.side, dtype)
    names = condition_names(run.config)
    # One network is the folder itself; several have one each in it.
    folders = {names[0]: out} if len(names) == 1 else {name: out / name for name in names}
    with Lock(out / ".lock", f"exporting to {out}", "wait for it, or give another --out"):
        _export(run, folders, dtype)
        if _PUSH_TO.value is not None:
            original = _FORMAT.value == "original"
            _LOG.info("It is at %s.", push(folders, _PUSH_TO.value, _PRIVATE.value, original=original))


def _export(run: TrainedRun, folders: Mapping[str, Path], dtype: jnp.dtype) -> None:
    size = example_size(run.config)
    # Before anything is written, for there may be no such picture, and the run's metrics may be damaged.
    picture = card_picture(run, _WORKDIR.value, _SAMPLES.value, CONDITION_MODULE.value)
    validation, validation_step = last_validation(_WORKDIR.value, run.step)
    writes = _write_original if _FORMAT.value == "original" else _write_folder
    measured_of = {name: writes(run, name, folder, dtype, size) for name, folder in folders.items()}
    for name, folder in folders.items():
        measured = measured_of[name]
        _report(folder, dtype, measured)
        if picture is not None:
            write_whole(folder / PICTURE, lambda partial: picture.save(partial, format="PNG"))
        card = ModelCard(
            config=run.config.to_dict(),
            step=run.step,
            averaged=run.config.ema_decay is not None and _WEIGHTS.value != "raw",
            base_fingerprint=run.family.fingerprint,
            process=run.family.process,
            usage=run.family.usage,
            size=size,
            license=_LICENSE.value,
            dtype=dtype.name,
            name=name,
            names=tuple(folders),
            validation=validation,
            validation_step=validation_step,
            measured=measured,
            picture=picture is not None,
            original=_FORMAT.value == "original",
        )
        write_card(folder, card)
        _LOG.info("The ControlNet of step %d is in %s.", run.step, folder)


def _write_folder(run: TrainedRun, name: str, folder: Path, dtype: jnp.dtype, size: tuple[int, ...]) -> Measured:
    run.family.write_side(folder, name, run.side[name], dtype)
    return run.family.check_export(folder, run.side[name], dtype, size, verifies=_VERIFY.value)


def _write_original(run: TrainedRun, name: str, folder: Path, dtype: jnp.dtype, size: tuple[int, ...]) -> Measured:
    run.family.write_original(folder, name, run.side[name], dtype)
    # The same as a folder, which is what can be measured, and is not kept.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".measured-") as measured:
        return _write_folder(run, name, Path(measured), dtype, size)


def _report(folder: Path, dtype: jnp.dtype, measured: Measured) -> None:
    if measured.rounding is not None:
        _LOG.info(
            "%s: rounding to %s moves a residual by %.2e at most; the largest is %.3g.",
            folder,
            dtype,
            measured.rounding,
            measured.largest,
        )
    if measured.difference is not None:
        _LOG.info(
            "%s: diffusers %s differs from us by %.2e at most; allowed are %.2e, %g of the largest residual.",
            folder,
            measured.diffusers_version,
            measured.difference,
            TOLERANCE * measured.largest,
            TOLERANCE,
        )


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "out"])
    run_command(main)
