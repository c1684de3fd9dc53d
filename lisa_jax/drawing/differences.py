"""What differs between the settings that samples were made with and those of today, in words."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# SHA-256: tells that something differs, and nobody anything else.
_HASH = re.compile(r"[0-9a-f]{64}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A clause for each setting that differs, however deep it lies; both are of JSON."""
    then, today = dict(_leaves(before)), dict(_leaves(now))
    return [
        _changed(name, then.get(name), today.get(name))
        for name in sorted({*then, *today})
        if then.get(name) != today.get(name)
    ]


def _leaves(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _changed(name: str, then: Any, now: Any) -> str:
    if _hashed(then) and _hashed(now):
        return f"{name}: another one than before, though it may have the same name"
    return f"{name} was {json.dumps(then)} and is {json.dumps(now)} now"


def _hashed(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(part, str) and _HASH.fullmatch(part) for part in values)


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
        f"example {index} had the {name} {then.get(name)!r} and has {now[name]!r} now"
        for name in ("prompt", "negative_prompt", "size")
        if then.get(name) != now[name]
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
