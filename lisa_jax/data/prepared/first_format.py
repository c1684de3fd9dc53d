"""Data sets of the first format, which held nothing but what Stable Diffusion reads: they are read, never written."""

from collections.abc import Mapping
from typing import Any

# Context of the empty caption, float32 (1, length, width), where contexts are cached.
NULL_CONTEXT_FILE = "null_context.npy"


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """What `lisa_jax.json` of the first format says, in the words of `Metadata`."""
    kept = {name: value for name, value in content.items() if name not in ("conditions", "moments", "context")}
    conditions, pictures = content["conditions"], [[*size, 3] for size in content["sizes"]]

    def feature(path: list[str], dtype: str, shapes: list[list[int]]) -> dict[str, Any]:
        return {"path": path, "dtype": dtype, "shapes": shapes}

    # A single condition had no name on disk.
    features = {
        "condition" if len(conditions) == 1 else f"condition_{name}": feature(["condition", name], "uint8", pictures)
        for name in conditions
    }
    if content["moments"] is None:
        features["image"] = feature(["image"], "uint8", pictures)
    else:
        features["moments"] = feature(["moments"], "bfloat16", content["moments"])
    if content["context"] is not None:
        features["context"] = feature(["context"], "bfloat16", [content["context"]] * len(pictures))
    return {**kept, "features": features}
