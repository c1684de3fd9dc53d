"""What to sample beside a data set: prompts with condition pictures, from the command line or a listing."""

import csv
import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lisa_jax.data.geometry import fit


@dataclasses.dataclass(frozen=True)
class Request:
    """One picture to make.

    Attributes:
      where: where it was asked for, for messages.
      prompt: text.
      conditions: file of every condition by its side network's name.
      negative_prompt: text in place of the one for all, or None.
    """

    where: str
    prompt: str
    conditions: Mapping[str, Path]
    negative_prompt: str | None = None

    def digest(self) -> str:
        """Hash of everything that the picture depends on; 16 hexadecimal digits."""
        digest = hashlib.sha256(json.dumps([self.prompt, self.negative_prompt, list(self.conditions)]).encode())
        for path in self.conditions.values():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]


def requests_of_flags(prompts: Sequence[str], conditions: Sequence[str], names: Collection[str]) -> list[Request]:
    """The i-th prompt with the i-th condition.

    Args:
      prompts: texts.
      conditions: files; for several side networks one file each, with commas between them, in the order of `names`.
      names: the side networks.

    Raises:
      ValueError: not as many conditions as prompts, or as files in a condition as side networks.
    """
    if len(prompts) != len(conditions):
        raise ValueError(
            f"--prompt is given {len(prompts)} times and --condition {len(conditions)} times: give each prompt one."
        )
    found = []
    for prompt, condition in zip(prompts, conditions, strict=True):
        files = condition.split(",") if len(names) > 1 else [condition]
        if len(files) != len(names):
            raise ValueError(
                f"--condition={condition} has {len(files)} files: give one for each of {', '.join(names)}, in this "
                "order."
            )
        paths = {name: Path(file) for name, file in zip(names, files, strict=True)}
        found.append(Request(f"--condition={condition}", prompt, paths))
    return found


def numbers_by_name(flag: str, parts: list[str] | None, names: tuple[str, ...]) -> float | dict[str, float] | None:
    """One number for all, numbers in the order of the side networks, or name=number of each."""
    if parts is None:
        return None
    try:
        if len(parts) == 1 and "=" not in parts[0]:
            return float(parts[0])
        pairs = dict(part.split("=") for part in parts) if "=" in parts[0] else dict(zip(names, parts, strict=True))
        if set(pairs) == set(names):
            return {name: float(pairs[name]) for name in names}
    except ValueError:
        pass
    wanted = f"one number, or one for each of {', '.join(names)}" if len(names) > 1 else "one number"
    raise ValueError(f"--{flag}={','.join(parts)}: give {wanted}.")


def read_listing(path: str | Path, names: Collection[str]) -> list[Request]:
    """Requests of a .jsonl or .csv file, one a row.

    A row has the fields `prompt`, `condition` (a file, from the listing's folder; for several side networks
    `condition_<name>` each) and, if wanted, `negative_prompt`.

    Raises:
      ValueError: another kind of file, a row that is not JSON, or fields that are missing or unknown, by row.
    """
    path = Path(path)
    fields = {f"condition_{name}" if len(names) > 1 else "condition": name for name in names}
    requests = []
    for where, row in _rows(path):
        missing = [field for field in ("prompt", *fields) if not isinstance(row.get(field), str)]
        unknown = sorted(set(row) - {"prompt", "negative_prompt", *fields}, key=str)
        if missing or unknown:
            problem = f"has no {missing[0]}" if missing else f"has an unknown field {unknown[0]}"
            raise ValueError(f"{where} {problem}: a row has prompt, {', '.join(fields)} and maybe negative_prompt.")
        conditions = {name: path.parent / row[field] for field, name in fields.items()}
        requests.append(Request(where, row["prompt"], conditions, row.get("negative_prompt") or None))
    if not requests:
        raise ValueError(f"{path} has no rows.")
    return requests


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix not in (".jsonl", ".csv"):
        raise ValueError(f"{path} is neither a .jsonl nor a .csv file.")
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            for number, row in enumerate(csv.DictReader(file), 1):
                yield f"{path} row {number}", row
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"{path} line {number}"
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{where} is not JSON ({error}).") from None
                if not isinstance(row, dict):
                    raise ValueError(f"{where} is not a JSON object.")
                yield where, row


def load_conditions(request: Request, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Read a request's conditions, resized and centre-cropped alike to `size` (height, width).

    Returns:
      uint8 (H, W, 3) by name.
    Raises:
      ValueError: a file that is missing or no picture, or pictures of different aspect ratios.
    """
    pictures = {}
    for name, path in request.conditions.items():
        try:
            pictures[name] = np.asarray(Image.open(path).convert("RGB"))
        except OSError as error:
            raise ValueError(f"{request.where}: {path} cannot be read as a picture ({error}).") from None
    first, *others = pictures
    rest = {name: pictures[name] for name in others}
    fitted = fit(pictures[first], rest, size, where=request.where, min_size=1, subject=f"condition {first!r}")
    return {first: fitted.image} | fitted.conditions
