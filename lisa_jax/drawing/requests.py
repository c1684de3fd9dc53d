"""What to sample beside a data set: prompts with condition pictures."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lisa_jax.experiments.kinds import Kind
from lisa_jax.files.path_list import split_paths


class ClipRequest(NamedTuple):
    """What is asked of a video.

    Attributes:
      frames: how many.
      fps: frames a second, by which frames of conditions are taken; None: the conditions' own.
      motion: how much is to move, where the base is told; None: as it is told of every example.
    """

    frames: int
    fps: float | None = None
    motion: int | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """One picture or video to make.

    Attributes:
      where: where it was asked for, for messages.
      prompt: text.
      conditions: file of every condition by its side network's name; of videos also folders of frames.
      negative_prompt: text in place of the one for all, or None.
      first_frame: picture that a video begins with, or None.
      clip: what is asked of a video; None of a picture.

    Raises:
      ValueError: a text that is none in Unicode.
    """

    where: str
    prompt: str
    conditions: Mapping[str, Path]
    negative_prompt: str | None = None
    first_frame: Path | None = None
    clip: ClipRequest | None = None

    def __post_init__(self) -> None:
        for name, text in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt or "")):
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{self.where}: the {name} {text!a} holds half a character: write UTF-8.") from None


def requests_of_flags(
    prompts: Sequence[str], conditions: Sequence[str], names: Collection[str], first_frames: Sequence[str] = ()
) -> list[Request]:
    """The i-th prompt with the i-th condition and, where there are any, the i-th first frame.

    Args:
      prompts: texts.
      conditions: files; for several side networks one file each, with commas between them, in the order of `names`.
      names: the side networks.
      first_frames: files of pictures that videos begin with.

    Raises:
      ValueError: not as many conditions as prompts or first frames, or as files in a condition as side networks.
    """
    if first_frames and len(first_frames) != len(conditions):
        raise ValueError(
            f"--first_frame is given {len(first_frames)} times and --condition {len(conditions)} times: give each "
            "condition one."
        )
    if len(prompts) != len(conditions):
        raise ValueError(
            f"--prompt is given {len(prompts)} times and --condition {len(conditions)} times: give each prompt one."
        )
    found = []
    for number, (prompt, condition) in enumerate(zip(prompts, conditions, strict=True)):
        files = split_paths(condition) if len(names) > 1 else [condition]
        if len(files) != len(names):
            raise ValueError(
                f"--condition={condition} has {len(files)} files: give one for each of {', '.join(names)}, in this "
                "order."
            )
        paths = {name: Path(file) for name, file in zip(names, files, strict=True)}
        first_frame = Path(first_frames[number]) if first_frames else None
        found.append(Request(f"--condition={condition}", prompt, paths, first_frame=first_frame))
    return found


def numbers_by_name(
    flag: str, parts: list[str] | None, names: tuple[str, ...], kind: Kind
) -> float | dict[str, float] | None:
    """One number for all, numbers in the order of the side networks, or name=number of each; all of a kind."""
    if parts is None:
        return None
    found = _numbers(parts, names)
    for number in found.values() if isinstance(found, dict) else [found]:
        if number is None or not kind.takes(number):
            each = f", or one for each of {', '.join(names)}" if len(names) > 1 else ""
            raise ValueError(f"--{flag}={','.join(parts)}: give one number{each}: {kind}.")
    return found


def _numbers(parts: list[str], names: tuple[str, ...]) -> float | dict[str, float] | None:
    """None where they are no numbers, or not one for each."""
    try:
        if len(parts) == 1 and "=" not in parts[0]:
            return float(parts[0])
        pairs = dict(part.split("=") for part in parts) if "=" in parts[0] else dict(zip(names, parts, strict=True))
        return {name: float(pairs[name]) for name in names} if set(pairs) == set(names) else None
    # None at all, as of --control_scale=.
    except (ValueError, IndexError):
        return None
