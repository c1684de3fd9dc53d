"""The recipe of `base.control` beside one downloaded base or another, and a smoke size of it. No experiment itself."""

from typing import Any

from ml_collections import ConfigDict

from lisa_jax.configs import base

SMOKE = "smoke"
# What the authors trained, edges, and the one condition of whatever data set --config.data.dir names.
TASKS = ("pose", "seg", "depth", "sr", "canny", "anything")


def stable_diffusion(
    *, folder: str, preset: str, data: str, condition: str | tuple[str, ...], image_size: int, smoke: bool
) -> ConfigDict:
    """A config of `lisa_jax train`.

    Args:
      folder: name of the Stable Diffusion folder, under `bases/`.
      preset: its architecture; the smoke size takes `tiny_{preset}`, which `lisa_jax new_base` writes, for a base.
      data: name of the prepared data set, under `data/` or, for the smoke size, `runs/smoke/`.
      condition: what the side network sees; a tuple: one side network each.
      image_size: side of the images.
      smoke: a few steps of the tiny base at 64 px, on any CPU.
    """
    config = base.control()
    config.update(base=f"bases/{folder}", preset=preset)
    config.data.update(dir=f"data/{data}", image_size=image_size)
    # Flags change it as what it is: one name, or a tuple.
    config.data = ConfigDict({**config.data.to_dict(preserve_field_references=True), "condition": condition})
    if smoke:
        _shrink(config, f"tiny_{preset}", data)
    return config


def stable_diffusion_3(*, smoke: bool, num_steps: int, guidance_scale: float, **given: Any) -> ConfigDict:
    """The same for Stable Diffusion 3 and 3.5, of whose alignment every fourth row is enough.

    Args:
      smoke: as above.
      num_steps: of sampling, as the base's authors do it.
      guidance_scale: of sampling, likewise.
      **given: the rest of what `stable_diffusion` takes.
    """
    config = stable_diffusion(smoke=smoke, **given)
    # Control reaches all of a transformer but its first block: the prior costs nearly a whole pass of its rows.
    config.lisa.update(hook="block_1" if smoke else "block_5", align_every=2 if smoke else 4)
    # Of UNets.
    config.condition_channels = base.control().condition_channels
    config.sampling.update(sampler="euler", num_steps=2 if smoke else num_steps, guidance_scale=guidance_scale)
    return config


def stable_video_diffusion(*, smoke: bool, frames: int, image_size: int, **given: Any) -> ConfigDict:
    """The same for Stable Video Diffusion, sampled as diffusers' pipeline does it.

    Args:
      smoke: as above, of 4 frames.
      frames: of a clip.
      image_size: side of the frames.
      **given: the rest of what `stable_diffusion` takes.
    """
    config = stable_diffusion(smoke=smoke, image_size=image_size, **given)
    config.data.image_size = (4, 64, 64) if smoke else (frames, image_size, image_size)
    if smoke:
        # On CPUs every microbatch is compiled for itself.
        config.accumulate = 1
    as_the_pipeline = {"sampler": "euler", "guidance_scale": 3.0, "min_guidance_scale": 1.0, "decode_chunk": 14}
    own = {"num_steps": 2 if smoke else 25, "batch_size": 2}
    config.sampling = ConfigDict(config.sampling.to_dict() | as_the_pipeline | own)
    return config


def _shrink(config: ConfigDict, tiny: str, data: str) -> None:
    config.update(base=f"runs/smoke/{tiny}", preset=tiny)
    config.update(batch_size=4, num_steps=4, accumulate=2, condition_channels=(4, 8, 8, 16))
    config.update(preview_count=2, log_every=1, eval_every=4, preview_every=4, save_every=2)
    config.data.update(dir=f"runs/smoke/{data}", image_size=64)
    # So large that four steps open the zero convolutions.
    config.optimizer.update(learning_rate=1e-2, warmup_steps=1)
    config.sampling.update(num_steps=2, batch_size=2)


def task_and_size(argument: str, tasks: tuple[str, ...]) -> tuple[str, bool]:
    """Read what follows the colon of `--config=file.py:task[,smoke]`: the task, the first one by default, and smoke.

    Raises:
      ValueError: a word that is neither, or two tasks.
    """
    words = [word for word in argument.split(",") if word]
    found = [word for word in words if word != SMOKE]
    unknown = [word for word in found if word not in tasks]
    if unknown or len(found) > 1:
        raise ValueError(f"Config argument '{argument}': give one of {', '.join(tasks)}, and {SMOKE} after a comma.")
    return (found or [tasks[0]])[0], SMOKE in words
