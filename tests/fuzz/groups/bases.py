"""Folders of bases: damaged files, nonsense in configs, tensors that are not as the config says, other pipelines."""

import random
from pathlib import Path

from fuzz.base_folders import configs, files, index, tensors, tokenizers
from fuzz.case import Case, Command, drawn
from fuzz.world import World, copied, prepare_command, sample_command, train_command

# Those that a folder of one network may have.
SIDE_KINDS = {
    configs.field: 20,
    configs.field_gone: 4,
    configs.damaged: 6,
    files.damaged: 6,
    files.gone: 2,
    tensors.tensor: 10,
    tensors.header: 4,
}
KINDS = configs.KINDS | files.KINDS | tensors.KINDS | index.KINDS | tokenizers.KINDS


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """A base that was mutated, and a command that reads it."""
    if rng.random() < 0.15:
        return _side_network(rng, world, inputs)
    kind = drawn(rng, KINDS)
    has_vae = rng.random() < 0.6
    whole = world.sd if has_vae else world.base
    base, out = copied(whole, inputs / "base"), inputs / "out"
    mutation = kind(rng, base)
    # By what they cost.
    command = rng.choice(["sample", "sample", "sample", "prepare"] if has_vae else ["sample"] * 4 + ["train"])
    valid = (f"{command}_{whole.name}", _reader(world, command, whole, "{out}", has_vae))
    return Case.of(mutation, _reader(world, command, base, str(out), has_vae), out, valid)


def _side_network(rng: random.Random, world: World, inputs: Path) -> Case:
    """A ControlNet folder that was mutated likewise, to sample with or to go on from."""
    net, out = copied(world.controlnet, inputs / "controlnet"), inputs / "out"
    what, right, named = drawn(rng, SIDE_KINDS)(rng, net)
    name = "sample" if rng.random() < 0.7 else "train"
    command = _reader_of_side(world, name, net, str(out))
    valid = (f"{name}_side", _reader_of_side(world, name, world.controlnet, "{out}"))
    return Case(f"side network: {what}; {name}", (command,), right, named, result=out, valid=valid)


def _reader_of_side(world: World, command: str, net: Path, out: str) -> Command:
    if command == "sample":
        return (*sample_command(world.base, net, world.picture), f"--out={out}")
    return train_command(world.base, out, eval_every=100, **{"side.start_from": net})


def _reader(world: World, command: str, base: Path, out: str, has_vae: bool) -> Command:
    if command == "train":
        return train_command(base, out, eval_every=100)
    if command == "prepare":
        return (*prepare_command(world.table, base, cache="moments,context", size=64), f"--out={out}")
    if has_vae:
        return (*sample_command(base, world.sd_controlnet, world.picture, size=64), f"--out={out}")
    return (*sample_command(base, world.controlnet, world.picture), f"--out={out}")
