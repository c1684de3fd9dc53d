"""Does a change of the code change what it computes? Short runs of the commands, recorded and compared bit for bit.

    python benchmarks/unchanged.py record --out=before.json [--work=DIR] [--only=quickstart,plain]
    python benchmarks/unchanged.py compare before.json after.json

Uses nothing but the command line of the package beside it, so that one script runs on both sides of a change: copy it.
Recorded are logged numbers, exported tensors, pixels of samples and previews, what `evaluate` measures, prepared data
and a study's rows. A case is written as soon as it is done; with --only, the file's other cases are kept. Numbers are
the same only on the same kind and number of CPU cores and with the same packages: `compare` notes where these differ.

All cases take twenty minutes on two idle CPU cores, most of it compiling.
"""

import functools
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import app, flags, logging
from PIL import Image
from safetensors import safe_open

_OUT = flags.DEFINE_string("out", None, "With record: the JSON file.")
_WORK = flags.DEFINE_string("work", None, "With record: a folder for the runs, to be kept; a temporary one by default.")
_ONLY = flags.DEFINE_list("only", [], "With record: these cases only.")

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "lisa_jax"
# Numbers depend on these beside the code.
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "opencv-python-headless", "pillow", "resvg-py"),
    *("array-record", "tensorflow-datasets"),
)
# What they would otherwise depend on, too: settings of XLA, JAX and the package.
SETTINGS = ("JAX_", "XLA_", "LISA_JAX_", "NPROC")

TABLE_ROWS = 24
# Prepared data set -> preset of its base, and further flags of `prepare`.
POSE, SEG = "--condition_column=pose=pose_image", "--condition_column=seg=seg_image"
DATA_SETS = {
    "pose": ("tiny_sd21", [POSE]),
    "pose_seg": ("tiny_sd21", [POSE, SEG, "--nearest=seg"]),
    "pose_sd15": ("tiny_sd15", [POSE]),
    "pose_v": ("tiny_sd21_v", [POSE]),
    "pictures": (None, [POSE, "--condition=canny", "--condition=sr=lowres", "--cache=none", "--chunk_rows=10"]),
    "buckets": ("tiny_sd21", [POSE, "--buckets", "--min_size=32", "--cache=moments"]),
}
PRESETS = ("tiny_sd21", "tiny_sd15", "tiny_sd21_v")

STUDY = """
from runpy import run_path

from ml_collections import ConfigDict


def get_config():
    config = run_path({config!r})["get_config"]()
    config.training.update(eval_every=1, preview_every=2, preview_count=4)
    config.training.sampling.update(num_steps=2, guidance_scale=2.0)
    config.validation.update(num_examples=16, probe=4)
    config.sample_at = ()
    config.extractor.name = ""
    config.defaults.update(num_steps=2, batch_size=4)
    config.grids = (ConfigDict({{"lam": (0.0, 0.2)}}),)
    return config
"""

Found = dict[str, Any]


class CommandError(Exception):
    """A command failed; says which, and its last lines."""


class Bench:
    """Runs commands of the package beside this script, and makes what several cases need, once.

    Args:
      work: where everything goes that the commands write.
    """

    def __init__(self, work: Path):
        """Checks that it is the package beside this script that runs."""
        self.work = work
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        self._env |= {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(work / "xla"),
            "LISA_JAX_DATA": str(self.embedded),
        }
        # Made once and kept for all, so that what is prepared from it has one fingerprint.
        self.data_set = functools.cache(self._prepare)
        self.base = functools.cache(self._write_base)
        self.table = functools.cache(self._write_table)
        found = self._run("-c", f"import {PACKAGE}; print({PACKAGE}.__file__)").strip()
        if not Path(found).is_relative_to(ROOT):
            raise CommandError(f"{PACKAGE} is imported from {found}, not from {ROOT}.")

    @property
    def embedded(self) -> Path:
        """Where the data sets go that the package makes on first use."""
        return self.work / "embedded"

    def command(self, name: str, *argv: str) -> None:
        """Run a command; raises CommandError where it fails."""
        print(f"  {name} {' '.join(argv)}", flush=True)
        # Commands were modules once; this runs on both sides of that change, too.
        module = [PACKAGE, name] if (ROOT / PACKAGE / "__main__.py").is_file() else [f"{PACKAGE}.{name}"]
        self._run("-m", *module, *argv)

    def _run(self, *argv: str) -> str:
        done = subprocess.run([sys.executable, *argv], cwd=ROOT, env=self._env, capture_output=True, text=True)
        if done.returncode:
            tail = (done.stdout + done.stderr).splitlines()[-30:]
            raise CommandError("\n".join([f"{' '.join(argv)} ended with status {done.returncode}:", *tail]))
        return done.stdout

    def _write_table(self) -> Path:
        path = self.work / "table.parquet"
        write_table(path)
        return path

    def _write_base(self, preset: str) -> Path:
        folder = self.work / "bases" / preset
        self.command("new_base", f"--preset={preset}", f"--out={folder}")
        return folder

    def _prepare(self, name: str) -> Path:
        folder, (preset, argv) = self.work / "data" / name, DATA_SETS[name]
        base = [] if preset is None else [f"--base={self.base(preset)}"]
        places = [f"--source={self.table()}", f"--out={folder}", *base]
        self.command("prepare", *places, *argv, "--image_size=64", "--test_fraction=0.4", "--batch_size=4")
        return folder


def drawing(index: int) -> dict[str, np.ndarray]:
    """A disk on a gradient, the box around it and a map of both, by column: uint8 (72, 80, 3), or upright."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:72, :80]
    (top, left), radius = rng.integers(20, 50, 2), rng.integers(8, 18)
    disk = ((y - top) ** 2 + (x - left) ** 2 < radius**2)[..., None]
    box = ((abs(y - top) < radius) & (abs(x - left) < radius))[..., None]
    ground = rng.integers(0, 128, 3) + np.stack([x, y, (x + y) // 2], -1)
    columns = {
        "image": np.where(disk, rng.integers(0, 256, 3), ground),
        "pose_image": np.where(box & ~disk, (255, 85, 0), 0),
        "seg_image": np.where(disk, (220, 20, 60), np.where(box, (0, 130, 180), 0)),
    }
    axes = (0, 1, 2) if index % 3 else (1, 0, 2)
    return {name: picture.astype(np.uint8).transpose(axes) for name, picture in columns.items()}


def write_table(path: Path) -> None:
    """A Parquet table as data hubs hold them: pictures as PNG in structs, and captions."""
    rows = [
        {name: {"bytes": _png(picture), "path": None} for name, picture in drawing(index).items()}
        | {"caption": f"disk number {index} in front of a gradient"}
        for index in range(TABLE_ROWS)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "PNG")
    return file.getvalue()


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def files(folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Files below a folder with their names from there; raises FileNotFoundError where there are none."""
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if not found:
        raise FileNotFoundError(f"{folder} has no {pattern}.")
    return ((str(path.relative_to(folder)), path) for path in found)


def pictures(folder: Path) -> Found:
    """Size and digest of the pixels of all PNGs below a folder."""
    read = {name: np.asarray(Image.open(path)) for name, path in files(folder, "*.png")}
    return {name: f"{picture.shape} {digest(picture)}" for name, picture in read.items()}


def tensors(folder: Path) -> Found:
    """Shape and digest, as float32, of every tensor of the safetensors files below a folder."""
    found = {}
    for name, path in files(folder, "*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            read = {key: file.get_tensor(key) for key in sorted(file.keys())}
        found[name] = {key: f"{value.shape} {digest(value.astype(np.float32))}" for key, value in read.items()}
    return found


def texts(folder: Path, pattern: str) -> Found:
    """Digests of files as they are."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files(folder, pattern)}


def stored_arrays(folder: Path) -> dict[str, list[str]]:
    """Split -> digests of every value of every record of a TFDS folder, sorted: whatever the features are called."""
    # Here, for it takes seconds.
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    return {
        split: sorted(
            digest(np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value))
            for record in builder.as_data_source(split)
            for value in record.values()
        )
        for split in sorted(builder.info.splits)
    }


def prepared(folder: Path) -> Found:
    """What a prepared data set holds."""
    shards = texts(folder, "*.array_record*")
    null_context = {"null_context": texts(folder, "*.npy")} if any(folder.glob("*.npy")) else {}
    return {"shards": shards, "arrays": stored_arrays(folder), **null_context}


def embedded(folder: Path) -> Found:
    """What the data sets hold that the package makes on first use: a number of values and one digest a split."""
    found = {}
    for name, path in files(folder, "dataset_info.json"):
        for split, digests in stored_arrays(path.parent).items():
            of_all = hashlib.sha256("".join(digests).encode()).hexdigest()
            found[f"{Path(name).parent} {split}"] = f"{len(digests)} values {of_all}"
    return found


def train(bench: Bench, folder: Path, config: str, **fields: Any) -> Found:
    """Train; returns what was logged, and the previews. A field a__b is the config's a.b."""
    overrides = [f"--config.{name.replace('__', '.')}={value}" for name, value in fields.items()]
    bench.command("train", f"--config=configs/{config}", f"--workdir={folder}", *overrides)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    return {"metrics": lines, "previews": pictures(folder / "previews")}


def train_embedded(bench: Bench, folder: Path, config: str, steps: int, **fields: Any) -> Found:
    """Train on embedded data, with an evaluation and previews at the end."""
    at_end = dict.fromkeys(("num_steps", "eval_every", "preview_every", "save_every"), steps)
    small = {"log_every": 1, "preview_count": 4, "sampling__num_steps": 4}
    return train(bench, folder, config, **at_end, **small, **fields)


def sample(bench: Bench, workdir: Path, *argv: str, name: str = "samples") -> Found:
    """Sample with a run; returns the pictures."""
    out = workdir / name
    bench.command("sample", f"--workdir={workdir}", f"--out={out}", *argv)
    return pictures(out)


def export(bench: Bench, workdir: Path, *argv: str, name: str = "exported") -> Found:
    """Export a run; returns its tensors and configs."""
    out = workdir / name
    bench.command("export", f"--workdir={workdir}", f"--out={out}", *argv)
    configs = {file: json.loads(path.read_text()) for file, path in files(out, "config.json")}
    return {"tensors": tensors(out), "configs": configs}


def evaluate(bench: Bench, workdir: Path, *argv: str) -> Found:
    """Evaluate a run; returns its measures."""
    out = workdir / "evaluation.json"
    bench.command("evaluate", f"--workdir={workdir}", f"--out={out}", *argv)
    return {name: value for name, value in json.loads(out.read_text()).items() if name != "device"}


def quickstart(bench: Bench, folder: Path) -> Found:
    """What the README does first: line art with LISA, sampled, exported and evaluated."""
    trained = train_embedded(bench, folder, "openmoji_lineart.py", 12, diagnostics_every=6)
    return {
        "data": embedded(bench.embedded),
        **trained,
        "samples": sample(bench, folder, "--num=4"),
        "exported": export(bench, folder),
        "evaluation": evaluate(bench, folder, "--num=8"),
    }


def plain(bench: Bench, folder: Path) -> Found:
    """Training without alignment."""
    trained = train_embedded(bench, folder, "openmoji_lineart.py", 4, lisa__lam=0)
    return {**trained, "exported": export(bench, folder)}


def options(bench: Bench, folder: Path) -> Found:
    """Microbatches, a moving average, two hooks, a lam that decays, rows aligned in turn, captions dropped."""
    alignment = {"align_every": 2, "hook": "down_3,mid", "schedule": "linear", "decay_steps": 4}
    fields = {"accumulate": 2, "ema_decay": 0.9, "caption_dropout": 0.3}
    fields |= {f"lisa__{name}": value for name, value in alignment.items()}
    return {
        **train_embedded(bench, folder, "openmoji_lineart.py", 6, **fields),
        "exported_ema": export(bench, folder, "--weights=ema", name="exported_ema"),
        "exported_raw": export(bench, folder, "--weights=raw", name="exported_raw"),
    }


def two_conditions(bench: Bench, folder: Path) -> Found:
    """Two side networks trained together."""
    trained = train_embedded(bench, folder, "openmoji_lineart_lowres.py", 4)
    return {**trained, "samples": sample(bench, folder, "--num=4"), "exported": export(bench, folder)}


def bases(bench: Bench, folder: Path) -> Found:
    """Bases with random weights."""
    del folder
    found = {preset: bench.base(preset) for preset in PRESETS}
    return {
        preset: {"tensors": tensors(base), "configs": texts(base, "*.json"), "merges": texts(base, "*.txt")}
        for preset, base in found.items()
    }


def prepare(bench: Bench, folder: Path) -> Found:
    """Prepared data sets."""
    del folder
    return {name: prepared(bench.data_set(name)) for name in DATA_SETS}


def stable_diffusion(bench: Bench, folder: Path, config: str, data: str) -> Found:
    """The smoke size of a config of Stable Diffusion."""
    places = {"base": bench.base(DATA_SETS[data][0]), "data__dir": bench.data_set(data)}
    return {
        **train(bench, folder, config, **places),
        "samples": sample(bench, folder, "--num=3"),
        "exported": export(bench, folder),
    }


def study(bench: Bench, folder: Path) -> Found:
    """Two cells of a study, plain and LISA."""
    folder.mkdir(parents=True)
    config, out = folder / "config.py", folder / "out"
    config.write_text(STUDY.format(config=str(ROOT / "configs" / "studies" / "main_openmoji.py")))
    bench.command("study", f"--config={config}", f"--out={out}")
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()[1:]]
    return {
        "rows": {row["id"]: {name: row[name] for name in ("cell", "curve", "flops_per_step")} for row in rows},
        "references": json.loads((out / "references.json").read_text()),
        "pictures": pictures(out / "samples"),
    }


CASES: dict[str, Callable[[Bench, Path], Found]] = {
    "quickstart": quickstart,
    "plain": plain,
    "options": options,
    "two_conditions": two_conditions,
    "bases": bases,
    "prepare": prepare,
    "sd21_lisa": functools.partial(stable_diffusion, config="sd21_lisa.py:pose,smoke", data="pose"),
    "sd21_baseline": functools.partial(stable_diffusion, config="sd21_baseline.py:pose,smoke", data="pose"),
    "sd15_lisa": functools.partial(stable_diffusion, config="sd15_lisa.py:pose,smoke", data="pose_sd15"),
    "sd21_v_lisa": functools.partial(stable_diffusion, config="sd21_v_lisa.py:pose,smoke", data="pose_v"),
    "sd21_compositional": functools.partial(stable_diffusion, config="sd21_compositional.py:smoke", data="pose_seg"),
    "study": study,
}


def environment() -> Found:
    """What numbers depend on beside the code."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    cpu = Path("/proc/cpuinfo")
    models = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    model = models[0].partition(":")[2].strip() if models else platform.processor()
    return {"python": platform.python_version(), "cpu": model, "cores": len(os.sched_getaffinity(0)), **versions}


def record(out: Path, work: Path, names: list[str]) -> bool:
    """Run cases and write them to `out` one by one, the others in it kept; returns whether all went well."""
    cases = json.loads(out.read_text())["cases"] if out.exists() else {}
    bench = Bench(work)
    for name in names:
        print(f"{name}:", flush=True)
        start = time.perf_counter()
        try:
            case = {"found": CASES[name](bench, work / "runs" / name)}
        # One case that fails must not lose the others.
        except Exception as error:
            case = {"error": f"{type(error).__name__}: {error}"}
            print(case["error"], flush=True)
        cases[name] = {"seconds": round(time.perf_counter() - start, 1), **case}
        whole = out.with_suffix(".partial")
        whole.write_text(json.dumps({"environment": environment(), "cases": cases}, indent=1) + "\n")
        whole.replace(out)
        print(f"  {cases[name]['seconds']} s", flush=True)
    return not any("error" in cases[name] for name in names)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Names and JSON of all that is in a JSON value, empty lists and objects included."""
    if not value or not isinstance(value, dict | list):
        yield name, json.dumps(value)
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(part, f"{name} / {key}" if name else str(key))


def differences(before: Any, after: Any) -> Iterator[str]:
    """A line for every value that is not the same to the bit, or is on one side alone."""
    old, new = dict(leaves(before)), dict(leaves(after))
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name, 'nothing')} -> {new.get(name, 'nothing')}"


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Print what differs; returns whether nothing does. A case that failed or was not run is a difference."""
    for line in differences(before["environment"], after["environment"]):
        print(f"note: {line}")
    count, compared = 0, 0
    for name in dict.fromkeys([*before["cases"], *after["cases"]]):
        sides = [record["cases"].get(name, {}) for record in (before, after)]
        if all("found" in side for side in sides):
            lines = [f"{name} / {line}" for line in differences(*(side["found"] for side in sides))]
            compared += len(dict(leaves(sides[0]["found"])))
        else:
            states = ["recorded" if "found" in side else "failed" if side else "not run" for side in sides]
            lines = [f"{name}: {states[0]} -> {states[1]}"]
        count += len(lines)
        for line in lines:
            print(line)
    print(f"{count} differences; {compared} values compared.")
    return count == 0


def main(argv: list[str]) -> None:
    # TFDS tells what it reads.
    logging.set_verbosity(logging.ERROR)
    match argv[1:]:
        case ["record"] if _OUT.value:
            unknown = set(_ONLY.value) - set(CASES)
            if unknown:
                raise app.UsageError(f"no case {', '.join(sorted(unknown))}: there are {', '.join(CASES)}")
            with tempfile.TemporaryDirectory() as temporary:
                work = Path(_WORK.value or temporary).resolve()
                if work.is_dir() and any(work.iterdir()):
                    raise app.UsageError(f"{work} is not empty: what runs left there would be gone on with")
                work.mkdir(parents=True, exist_ok=True)
                if not _ONLY.value:
                    Path(_OUT.value).unlink(missing_ok=True)
                good = record(Path(_OUT.value), work, _ONLY.value or list(CASES))
        case ["compare", before, after]:
            good = compare(*(json.loads(Path(path).read_text()) for path in (before, after)))
        case _:
            raise app.UsageError("record --out=FILE, or compare FILE FILE")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    app.run(main)
