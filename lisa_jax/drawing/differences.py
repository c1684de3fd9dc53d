"""What differs between what a picture was made of and what one of the same number is made of today, in words."""

from collections.abc import Mapping
from typing import Any


def example_differences(
    index: int, then: Mapping[str, Any] | str, now: Mapping[str, Any], size: list[int] | None = None
) -> list[str]:
    """A clause for each thing that another picture of the same number was made of.

    Args:
      index: of the picture.
      then: its `Examined.record`, or in folders of earlier versions its digest alone.
      now: its record of today.
      size: (height, width) of all pictures, which folders of earlier versions have in place of each one's.
    """
    if isinstance(then, str):
        found = [] if then == now["digest"] else [f"example {index} had another prompt or condition"]
        return found if size in (None, now["size"]) else [*found, f"example {index} had the size {size}"]
    found = [
        f"example {index} had the {name} {then.get(name)!r} and has {now.get(name)!r} now"
        for name in ("prompt", "negative_prompt", "size", "fps", "motion")
        if then.get(name) != now.get(name)
    ]
    files = then.get("conditions")
    for name, file in now["conditions"].items():
        old = files.get(name) if isinstance(files, Mapping) else None
        if not isinstance(old, Mapping) or old.get("sha256") != file["sha256"]:
            found.append(_other_file(index, name, old, file))
    return found


def _other_file(index: int, name: str, old: Any, new: Mapping[str, Any]) -> str:
    if not isinstance(old, Mapping) or not old.get("file"):
        return f"example {index} had no condition {name!r}"
    if old["file"] == new["file"]:
        return f"example {index} had the condition file {new['file']}, whose content has changed"
    return f"example {index} had the condition file {old['file']} and has {new['file']} now"
