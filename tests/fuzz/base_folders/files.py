"""Files of a base: damaged, gone, under other names, or folders in the place of others."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right

WEIGHTS = "diffusion_pytorch_model.safetensors"


def damaged(rng: random.Random, base: Path) -> Mutation:
    """Weights or merges that are damaged; a VAE's decoder is not read by all commands."""
    path = rng.choice(sorted([*base.rglob("*.safetensors"), *base.rglob("merges.txt")]))
    how = damage.bytes_of(rng, path)
    # Fewer merges are merges, too.
    right = Right.ANY if path.name == "merges.txt" and "bytes" in how else Right.EITHER
    return Mutation(f"{path.relative_to(base)}: {how}", right, (path.name,))


def gone(rng: random.Random, base: Path) -> Mutation:
    """A file or a folder that is not there."""
    path = rng.choice(sorted(path for path in base.rglob("*") if path.name != "special_tokens_map.json"))
    damage.remove(path)
    return Mutation(f"{path.relative_to(base)} is gone", Right.EITHER, (path.name, path.stem, path.parent.name))


def variant(rng: random.Random, base: Path) -> Mutation:
    """Weights of a variant alone."""
    path, name = base / "unet" / WEIGHTS, rng.choice(["fp16", "bf16", "non_ema", "ema"])
    path.rename(path.with_suffix(f".{name}.safetensors"))
    return Mutation(f"only the variant {name} of the UNet", Right.EITHER, (f".{name}.safetensors", f"{name} variant"))


def _pickles(base: Path) -> tuple[str, ...]:
    path = base / "unet" / WEIGHTS
    path.rename(path.with_suffix(".bin"))
    return (".bin",)


def _file_for_folder(base: Path) -> tuple[str, ...]:
    damage.remove(base / "unet")
    (base / "unet").write_text("x")
    return ("unet",)


def _component(base: Path) -> tuple[str, ...]:
    for path in base.iterdir():
        if path.name != "unet":
            damage.remove(path)
    return (base.name,)


def _nested(base: Path) -> tuple[str, ...]:
    inner = base.with_name("inner")
    base.rename(inner)
    base.mkdir()
    inner.rename(base / "inner")
    return (base.name,)


def _one_file(base: Path) -> tuple[str, ...]:
    kept = base.with_name("kept.safetensors")
    shutil.copyfile(base / "unet" / WEIGHTS, kept)
    damage.remove(base)
    kept.rename(base)
    return (base.name,)


LAYOUTS: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "pickles": _pickles,
    "a file in the place of unet/": _file_for_folder,
    "the UNet alone": _component,
    "a folder in the folder": _nested,
    "a file": _one_file,
}


def layout(rng: random.Random, base: Path) -> Mutation:
    """What is no base, or not at this place."""
    how = rng.choice(list(LAYOUTS))
    return Mutation(f"a base that is {how}", Right.REFUSED, LAYOUTS[how](base))


def linked(rng: random.Random, base: Path) -> Mutation:
    """As the hub's cache has it: every file a link to a blob elsewhere; and files that nobody reads."""
    blobs = base.with_name("blobs")
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in base.rglob("*") if path.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(blobs / str(number))
    (base / "safety_checker").mkdir()
    (base / "safety_checker" / "pytorch_model.bin").write_bytes(b"x")
    (base / ".DS_Store").write_bytes(b"\0")
    (base / "README.md").write_text("---\nlicense: x\n---\n")
    return Mutation("a base of links, with more in it", Right.SAME, ())


KINDS: Kinds = {damaged: 8, gone: 5, variant: 3, layout: 5, linked: 1}
