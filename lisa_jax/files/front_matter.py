"""The YAML front matter of a Markdown file, as model hubs read it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_FRONT_MATTER = re.compile(r"---\s*\n(.*?)\n---\s*(\n|$)", re.DOTALL)


def front_matter(path: Path) -> Mapping[str, Any]:
    """Its fields; none where the file is missing, has none, or none that can be read."""
    if not path.is_file():
        return {}
    found = _FRONT_MATTER.match(path.read_text(encoding="utf-8", errors="replace"))
    try:
        fields = yaml.safe_load(found[1]) if found else None
    # A date that is none is a ValueError.
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, Mapping) else {}
