"""Configs of a base: fields with nonsense, fields that are missing, other pipelines, damaged JSON."""

import json
import random
from pathlib import Path

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right

# Words that have others in their place: what these mean is for the base's maker to say.
WANTED = ("prediction_type", "beta_schedule", "timestep_spacing", "hidden_act", "act_fn", "force_upcast")
PIPELINES = (
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline",
    "LatentConsistencyModelPipeline",
    "StableVideoDiffusionPipeline",
    "DDPMPipeline",
    "",
    None,
    3,
    ["StableDiffusionPipeline"],
    {"a": "b"},
)


def field(rng: random.Random, base: Path) -> Mutation:
    """Nonsense in a field."""
    path = rng.choice(sorted(base.rglob("*config.json")))
    name, value = damage.field_of(rng, path, lambda name: not name.startswith("_") or name == "_class_name")
    # As good a number as another.
    plausible = name in WANTED or (isinstance(value, (int, float)) and value in (0.5, True))
    right = Right.ANY if plausible else Right.EITHER
    return Mutation(f"{path.relative_to(base)}: {name} = {value!r:.60}", right, (name,))


def field_gone(rng: random.Random, base: Path) -> Mutation:
    """A field that is not there; that may stand for another value."""
    path = rng.choice(sorted(base.rglob("*config.json")))
    content = json.loads(path.read_text())
    name = rng.choice(sorted(content))
    del content[name]
    path.write_text(json.dumps(content))
    return Mutation(f"{path.relative_to(base)} without {name}", Right.ANY, (name, path.name))


def damaged(rng: random.Random, base: Path) -> Mutation:
    """A JSON file that is damaged; not all of them are read by all commands."""
    path = rng.choice(sorted(base.rglob("*.json")))
    how = damage.json_of(rng, path)
    return Mutation(f"{path.relative_to(base)}: {how}", Right.EITHER, (path.name,))


def pipeline(rng: random.Random, base: Path) -> Mutation:
    """Of another class."""
    path = base / "model_index.json"
    name = rng.choice(PIPELINES)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": name}))
    return Mutation(f"a pipeline {name!r}", Right.EITHER, (str(name), "_class_name", path.name))


KINDS: Kinds = {field: 40, field_gone: 6, damaged: 12, pipeline: 4}
