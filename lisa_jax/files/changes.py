"""What differs between two records of settings, in words: for folders that are to go on with the settings of before."""

import json
import re
from collections.abc import Mapping
from typing import Any

_HASH = re.compile(r"[0-9a-f]{16,}")
_MISSING = object()


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each difference by dotted name: `optimizer.b1 was 0.9 and is 0.8 now`; hashes are told to differ, not shown.

    Args:
      before, now: as JSON has them, groups within groups.
    """
    found: list[str] = []
    for name in sorted({*before, *now}):
        then, today = before.get(name, _MISSING), now.get(name, _MISSING)
        if then == today:
            continue
        if isinstance(then, Mapping) and isinstance(today, Mapping):
            found += [f"{name}.{change}" for change in changes(then, today)]
        elif (_is_hash(then) or _is_hash(today)) and not _one_says_more(then, today):
            found.append(f"{name} is another than it was")
        else:
            found.append(f"{name} was {_said(then)} and is {_said(today)} now")
    return found


def _is_hash(value: Any) -> bool:
    """Whether a value is a hash, or several."""
    parts = value if isinstance(value, list) else [value]
    return bool(parts) and all(isinstance(part, str) and _HASH.fullmatch(part) for part in parts)


def _one_says_more(then: Any, today: Any) -> bool:
    """Whether words stand where the other has a hash."""
    return any(isinstance(value, str) and " " in value for value in (then, today))


def _said(value: Any) -> str:
    if isinstance(value, str) and _is_hash(value):
        return f"{value[:12]}..."
    text = "missing" if value is _MISSING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:190]}..."
