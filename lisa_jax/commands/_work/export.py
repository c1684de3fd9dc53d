"""What `lisa_jax export` does, once its flags are read."""

import logging
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
from absl import flags

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.config_files import CONFIG_FILE
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS
from lisa_jax.experiments.base import example_size
from lisa_jax.experiments.conditions import condition_names
from lisa_jax.experiments.saved_run import TrainedRun, load_run
from lisa_jax.exporting.base_terms import base_terms
from lisa_jax.exporting.model_card import PICTURE, ModelCard, last_validation, write_card
from lisa_jax.exporting.push import check_repository, push
from lisa_jax.exporting.samples import card_picture
from lisa_jax.families.export_check import TOLERANCE, Measured, require_diffusers, round_params
from lisa_jax.files.lock import Lock
from lisa_jax.files.temporary_folder import temporary_folder
from lisa_jax.files.whole_file import write_whole

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")
# Dtype of weights -> what hubs call them by.
VARIANTS = {"float16": "fp16", "bfloat16": "bf16"}


def main() -> None:
    if FLAGS.push_to is not None:
        check_repository(FLAGS.push_to)
    elif FLAGS.private:
        raise ValueError("--private is for --push_to=OWNER/NAME, which is missing.")
    if FLAGS.verify:
        require_diffusers()
    if FLAGS.variant and (FLAGS.dtype not in VARIANTS or FLAGS.format == "original"):
        raise ValueError("--variant names a folder's weights in float16 or bfloat16: give --dtype, and no --format.")
    run, out, dtype = load_run(FLAGS.workdir, FLAGS.weights), Path(FLAGS.out), jnp.dtype(FLAGS.dtype)
    if FLAGS.format == "original" and run.family.conditioning_channels:
        raise ValueError(
            "Web interfaces give a ControlNet pictures of 3 channels, but those of "
            f"{', '.join(run.family.conditioning_channels)} are others: export with --format=diffusers."
        )
    if FLAGS.format == "original" and run.family.write_original is None:
        raise ValueError(
            f"No web interface reads a {run.family.usage.kind} of such a base: export with --format=diffusers."
        )
    # Before anything is written, for it refuses what does not fit the dtype.
    round_params(run.side, dtype)
    names = condition_names(run.config)
    # One network is the folder itself; several have one each in it.
    folders = {names[0]: out} if len(names) == 1 else {name: out / name for name in names}
    for folder in folders.values():
        if (folder / "checkpoints").is_dir():
            raise ValueError(
                f"--out: {folder} is a training run's work directory, whose config.json would be lost: give a folder "
                "of its own."
            )
    with Lock(out / ".lock", f"exporting to {out}", "wait for it, or give another --out"):
        _export(run, folders, dtype)
        if FLAGS.push_to is not None:
            weights = None if FLAGS.format == "original" else f"{_stem()}.safetensors"
            module = run.family.usage.module and run.family.usage.module.name
            _LOG.info("It is at %s.", push(folders, FLAGS.push_to, FLAGS.private, weights, module))


def _export(run: TrainedRun, folders: Mapping[str, Path], dtype: jnp.dtype) -> None:
    size = example_size(run.config)
    # Before anything is written, for there may be no such picture, and the run's metrics may be damaged.
    picture = card_picture(run, FLAGS.workdir, FLAGS.samples, FLAGS.condition_module)
    validation, validation_step = last_validation(FLAGS.workdir, run.step)
    writes = _write_original if FLAGS.format == "original" else _write_variant if FLAGS.variant else _write_folder
    measured_of = {name: writes(run, name, folder, dtype, size) for name, folder in folders.items()}
    for name, folder in folders.items():
        measured = measured_of[name]
        _report(folder, dtype, measured)
        if picture is not None:
            write_whole(folder / PICTURE, lambda partial: picture.save(partial, format="PNG"))
        card = ModelCard(
            config=run.config.to_dict(),
            step=run.step,
            averaged=run.config.ema_decay is not None and FLAGS.weights != "raw",
            base_fingerprint=run.family.fingerprint,
            process=run.family.process,
            usage=run.family.usage,
            size=size,
            license=FLAGS.license,
            dtype=dtype.name,
            name=name,
            names=tuple(folders),
            conditioning_channels=run.family.conditioning_channels,
            validation=validation,
            validation_step=validation_step,
            measured=measured,
            picture=picture is not None,
            original=FLAGS.format == "original",
            variant=_variant(),
            terms=base_terms(open_checkpoint(run.config.base).folder),
        )
        write_card(folder, card)
        _LOG.info("The ControlNet of step %d is in %s.", run.step, folder)


def _write_folder(run: TrainedRun, name: str, folder: Path, dtype: jnp.dtype, size: tuple[int, ...]) -> Measured:
    run.family.write_side(folder, name, run.side[name], dtype)
    return run.family.check_export(folder, run.side[name], dtype, size, verifies=FLAGS.verify)


def _variant() -> str | None:
    return VARIANTS[FLAGS.dtype] if FLAGS.variant else None


def _stem() -> str:
    """Name of the weights' file without its ending."""
    return f"{DIFFUSERS_WEIGHTS}.{_variant()}" if FLAGS.variant else DIFFUSERS_WEIGHTS


def _write_variant(run: TrainedRun, name: str, folder: Path, dtype: jnp.dtype, size: tuple[int, ...]) -> Measured:
    folder.mkdir(parents=True, exist_ok=True)
    # Apart from what lies there, for weights of another precision stay.
    with temporary_folder(".written-", folder) as written:
        measured = _write_folder(run, name, written, dtype, size)
        (written / f"{DIFFUSERS_WEIGHTS}.safetensors").replace(folder / f"{_stem()}.safetensors")
        (written / CONFIG_FILE).replace(folder / CONFIG_FILE)
    return measured


def _write_original(run: TrainedRun, name: str, folder: Path, dtype: jnp.dtype, size: tuple[int, ...]) -> Measured:
    run.family.write_original(folder, name, run.side[name], dtype)
    # The same as a folder, which is what can be measured, and is not kept.
    with temporary_folder(".measured-", folder) as measured:
        return _write_folder(run, name, measured, dtype, size)


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
