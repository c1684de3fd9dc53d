"""How fast data is prepared and read at the sizes of Stable Diffusion 2.1, 512 px, or 3, 1024 px, and what bounds it.

    python benchmarks/input_pipeline.py                reading, and preparing without a base
    python benchmarks/input_pipeline.py --sizes=sd3    reading alone
    python benchmarks/input_pipeline.py --base=BASE    preparing with the encoders of a base

Reading: cached moments 64 x 64 x 8 and context 77 x 1024 in bfloat16 (random, as good as incompressible), and a
condition 512 x 512 x 3 that is a drawing (edges) or a photograph (smooth with noise). Of Stable Diffusion 3 moments of
image and condition, 128 x 128 x 32 each, CLIP's tokens 77 x 2048, the pooled text, and T5's tokens 256 x 4096 or none.
Everything is in the page cache.
Preparing: JPEG pictures of 768 x 640, cropped and resized to 512 x 512, with Canny edges.
"""

import argparse
import io
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import ml_dtypes
import numpy as np
from PIL import Image

from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.pipeline import Batches
from lisa_jax.data.prepared.layout import features_of
from lisa_jax.data.prepared.metadata import Metadata, Shard
from lisa_jax.data.prepared.reader import PreparedSource, load_prepared, parse
from lisa_jax.data.rows import Row
from lisa_jax.preparing.encoding import Encoding, load_encoding
from lisa_jax.preparing.images import ImageMaker
from lisa_jax.preparing.prepare import Task, prepare
from lisa_jax.preparing.writer import WorkFolder

SIZE = 512
SECONDS = 2.0
Inputs = dict[str, Any]


def cached(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """What encoders give."""
    return rng.normal(size=shape).astype(ml_dtypes.bfloat16)


def drawn(rng: np.random.Generator) -> Inputs:
    """Of Stable Diffusion 2.1, with a drawing as the condition."""
    condition = get_condition("canny")({"image": photograph(rng, SIZE, SIZE)})
    return {"condition": {"canny": condition}, "moments": cached(rng, 64, 64, 8), "context": cached(rng, 77, 1024)}


def photographed(rng: np.random.Generator) -> Inputs:
    """The same with a photograph."""
    return drawn(rng) | {"condition": {"canny": photograph(rng, SIZE, SIZE)}}


def without_t5(rng: np.random.Generator) -> Inputs:
    """Of Stable Diffusion 3."""
    moments = [cached(rng, 128, 128, 32) for _ in range(2)]
    context = {"clip": cached(rng, 77, 2048), "pooled": cached(rng, 2048)}
    return {"moments": moments[0], "condition_moments": {"canny": moments[1]}, "context": context}


def with_t5(rng: np.random.Generator) -> Inputs:
    """The same with T5."""
    inputs = without_t5(rng)
    return inputs | {"context": inputs["context"] | {"t5": cached(rng, 256, 4096)}}


class Rows(NamedTuple):
    """Rows of a data set: how many, of which size, how many in a batch, and of each kind what makes one."""

    examples: int
    size: int
    batch_size: int
    kinds: tuple[Callable[[np.random.Generator], Inputs], ...]


SIZES = {"sd21": Rows(512, SIZE, 64, (drawn, photographed)), "sd3": Rows(128, 1024, 16, (without_t5, with_t5))}


def photograph(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth picture with edges and a little noise."""
    shapes = cv2.resize(rng.integers(0, 256, (height // 64, width // 64, 3), np.uint8), (width, height))
    for _ in range(12):
        corner, opposite = (tuple(map(int, rng.integers(0, (width, height)))) for _ in range(2))
        cv2.rectangle(shapes, corner, opposite, tuple(map(int, rng.integers(0, 256, 3))), -1)
    return np.clip(shapes + rng.normal(0, 2, shapes.shape), 0, 255).astype(np.uint8)


def write_synthetic(folder: Path, rows: Rows, make: Callable[[np.random.Generator], Inputs]) -> PreparedSource:
    """A prepared data set, eight of whose examples are different."""
    rng = np.random.default_rng(0)
    inputs = [make(rng) for _ in range(8)]
    metadata = Metadata(((rows.size, rows.size),), features_of(inputs[:1]), "synthetic", {}, 0, {})
    work = WorkFolder(folder, {})
    writer = work.begin_chunk(0, metadata)
    for index in range(rows.examples):
        writer.write("train", 0, "a photograph", inputs[index % 8])
    writer.close([])
    empty = jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape), np.float32), inputs[0]["context"])
    work.finish(1, metadata, empty)
    return load_prepared(folder)


def seconds_each(function: Callable[[int], object], count: int = 256) -> tuple[float, float]:
    """Seconds and seconds of CPU time of a call, after one to warm up."""
    function(0)
    start, cpu = time.perf_counter(), time.process_time()
    for index in range(count):
        function(index)
    return (time.perf_counter() - start) / count, (time.process_time() - cpu) / count


def measure_reading(folder: Path, rows: Rows) -> None:
    """Print bytes and rates of reading."""
    for make in rows.kinds:
        source = write_synthetic(folder / make.__name__, rows, make)
        (shard,) = source._shards
        print(f"\nreading, {make.__name__}: {shard.bytes / shard.examples / 1000:.0f} kB an example")
        records = [source._records[index] for index in range(8)]
        examples = [source[index] for index in range(rows.batch_size)]
        steps = {
            "read and decompress": lambda index, source=source: source._records[index % rows.examples],
            "parse": lambda index, source=source, records=records: parse(records[index % 8], source._features, 0),
        }
        for name, function in steps.items():
            wall, cpu = seconds_each(function)
            print(f"  {name:24} {1e3 * wall:6.3f} ms, {1e3 * cpu:6.3f} ms of CPU")

        def stack(_: int, examples: list[dict] = examples) -> dict:
            return jax.tree.map(lambda *rows: np.stack(rows), *[example["inputs"] for example in examples])

        wall, cpu = (each / rows.batch_size for each in seconds_each(stack, 8))
        print(f"  {'stack into a batch':24} {1e3 * wall:6.3f} ms, {1e3 * cpu:6.3f} ms of CPU")
        for threads in (1, 2, 4, 8):
            measure_batches(source, rows.batch_size, threads)


def measure_batches(source: PreparedSource, batch_size: int, threads: int) -> None:
    """Print the rate of batches as training reads them."""
    batches = Batches(source, lambda example: example["inputs"], batch_size, seed=0).iterate(
        threads=threads, prefetch=threads
    )
    for _ in range(2 * threads):
        next(batches)
    start, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < SECONDS:
        next(batches)
        count += batch_size
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    rate, each = count / wall, 1e3 * cpu / count
    print(f"  {threads} threads: {rate:6.0f} examples/s, {cpu / wall:.1f} CPUs busy, {each:.2f} ms of CPU each")


class Pictures:
    """JPEG pictures as rows, eight different ones."""

    def __init__(self, count: int):
        self._count = count
        self._stored = []
        rng = np.random.default_rng(0)
        for _ in range(8):
            buffer = io.BytesIO()
            Image.fromarray(photograph(rng, 640, 768)).save(buffer, "JPEG", quality=92)
            self._stored.append(buffer.getvalue())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Row:
        return Row(f"row {index}", self._stored[index % 8], {}, f"picture {index}", {})

    def fingerprint(self) -> str:
        """Never compared."""
        return "pictures"


def measure_preparing(folder: Path, name: str, encoding: Encoding, images: int, workers: int) -> None:
    """Print the rate of preparing."""
    maker = ImageMaker(((SIZE, SIZE),), (), {"canny": get_condition("canny")}, test_fraction=0.0)
    task = Task(maker, encoding, 1000, False, {})
    if encoding.latents is not None:
        # Compiles and fills caches.
        prepare(Pictures(encoding.batch_size), task, folder / f"{name}-warm", workers=workers)
    start, cpu = time.perf_counter(), time.process_time()
    metadata = prepare(Pictures(images), task, folder / f"{name}-{workers}", workers=workers)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    shards: list[Shard] = list(itertools.chain(*metadata.splits.values()))
    size = sum(shard.bytes for shard in shards) / sum(shard.examples for shard in shards)
    print(
        f"preparing {name}, {workers} workers: {images / wall:.2f} images/s, {cpu / wall:.1f} CPUs busy, "
        f"{1e3 * cpu / images:.0f} ms of CPU each, {size / 1000:.0f} kB an example"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=list(SIZES), default="sd21", help="whose sizes are read")
    parser.add_argument("--base", help="Stable Diffusion folder whose encoders are used")
    parser.add_argument("--images", type=int, default=200, help="pictures to prepare with the base")
    parser.add_argument("--batch_size", type=int, default=8)
    flags = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        if flags.base:
            encoding = load_encoding(flags.base, ("moments", "context"), flags.batch_size)
            measure_preparing(Path(folder), "with encoders", encoding, flags.images, os.cpu_count())
            return
        measure_reading(Path(folder), SIZES[flags.sizes])
        if flags.sizes != "sd21":
            return
        print()
        for workers in (1, 2, 4):
            measure_preparing(Path(folder), "without encoders", Encoding(), 200, workers)


if __name__ == "__main__":
    main()
