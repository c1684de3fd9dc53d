"""Data sets of the first format, which held nothing but what Stable Diffusion reads: they are read, never written."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lisa_jax.files.typed import typed

# Context of the empty caption, float32 (1, length, width), where contexts are cached.
NULL_CONTEXT_FILE = "null_context.npy"


@dataclasses.dataclass(frozen=True)
class _Stored:
    """What `lisa_jax.json` said of an example: names of conditions, shapes of moments by size, shape of contexts."""

    sizes: tuple[tuple[int, int], ...]
    conditions: tuple[str, ...]
    moments: tuple[tuple[int, ...], ...] | None
    context: tuple[int, ...] | None


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """What `lisa_jax.json` of the first format says, in the words of `Metadata`; raises TypedError for a wrong type."""
    names = [field.name for field in dataclasses.fields(_Stored)]
    stored = typed({name: content[name] for name in names if name in content}, _Stored)
    kept = {name: value for name, value in content.items() if name not in ("conditions", "moments", "context")}
    pictures = [[*size, 3] for size in stored.sizes]

    def feature(path: list[str], dtype: str, shapes: list[list[int]]) -> dict[str, Any]:
        return {"path": path, "dtype": dtype, "shapes": shapes}

    # A single condition had no name on disk.
    features = {
        "condition" if len(stored.conditions) == 1 else f"condition_{name}": feature(
            ["condition", name], "uint8", pictures
        )
        for name in stored.conditions
    }
    if stored.moments is None:
        features["image"] = feature(["image"], "uint8", pictures)
    else:
        features["moments"] = feature(["moments"], "bfloat16", [list(shape) for shape in stored.moments])
    if stored.context is not None:
        features["context"] = feature(["context"], "bfloat16", [list(stored.context)] * len(pictures))
    return {**kept, "features": features}
