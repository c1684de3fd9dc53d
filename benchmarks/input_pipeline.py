"""How fast data is prepared and read at the sizes of Stable Diffusion 2.1, 512 px, and what bounds it.

    python benchmarks/input_pipeline.py                    reading, and preparing without a base
    python benchmarks/input_pipeline.py --base=BASE   preparing with the encoders of a base

Reading: cached moments 64 x 64 x 8 and context 77 x 1024 in bfloat16 (random, as good as incompressible), and a
condition 512 x 512 x 3 that is a drawing (edges) or a photograph (smooth with noise). Everything is in the page cache.
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
EXAMPLES = 512
BATCH_SIZE = 64
SECONDS = 2.0


def photograph(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth picture with edges and a little noise."""
    shapes = cv2.resize(rng.integers(0, 256, (height // 64, width // 64, 3), np.uint8), (width, height))
    for _ in range(12):
        corner, opposite = (tuple(map(int, rng.integers(0, (width, height)))) for _ in range(2))
        cv2.rectangle(shapes, corner, opposite, tuple(map(int, rng.integers(0, 256, 3))), -1)
    return np.clip(shapes + rng.normal(0, 2, shapes.shape), 0, 255).astype(np.uint8)


def write_synthetic(folder: Path, kind: str) -> PreparedSource:
    """A prepared data set of EXAMPLES examples, eight different ones."""
    rng = np.random.default_rng(0)

    def cached(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(ml_dtypes.bfloat16)

    def condition() -> np.ndarray:
        picture = photograph(rng, SIZE, SIZE)
        return picture if kind == "photograph" else get_condition("canny")({"image": picture})

    inputs = [
        {"condition": {"canny": condition()}, "moments": cached(64, 64, 8), "context": cached(77, 1024)}
        for _ in range(8)
    ]
    metadata = Metadata(((SIZE, SIZE),), features_of(inputs[:1]), "synthetic", {}, 0, {})
    work = WorkFolder(folder, {})
    writer = work.begin_chunk(0, metadata)
    for index in range(EXAMPLES):
        writer.write("train", 0, "a photograph", inputs[index % 8])
    writer.close([])
    work.finish(1, metadata, np.zeros((1, 77, 1024), np.float32))
    return load_prepared(folder)


def seconds_each(function: Callable[[int], object], count: int = 256) -> tuple[float, float]:
    """Seconds and seconds of CPU time of a call, after one to warm up."""
    function(0)
    start, cpu = time.perf_counter(), time.process_time()
    for index in range(count):
        function(index % EXAMPLES)
    return (time.perf_counter() - start) / count, (time.process_time() - cpu) / count


def measure_reading(folder: Path) -> None:
    """Print bytes and rates of reading."""
    for kind in ("drawing", "photograph"):
        source = write_synthetic(folder / kind, kind)
        (shard,) = source._shards
        print(f"\nreading, condition is a {kind}: {shard.bytes / shard.examples / 1000:.0f} kB an example")
        records = [source._records[index] for index in range(8)]
        examples = [source[index] for index in range(BATCH_SIZE)]
        steps = {
            "read and decompress": lambda index, source=source: source._records[index],
            "parse": lambda index, source=source, records=records: parse(records[index % 8], source._features, 0),
        }
        for name, function in steps.items():
            wall, cpu = seconds_each(function)
            print(f"  {name:24} {1e3 * wall:6.3f} ms, {1e3 * cpu:6.3f} ms of CPU")

        def stack(_: int, examples: list[dict] = examples) -> dict:
            return jax.tree.map(lambda *rows: np.stack(rows), *[example["inputs"] for example in examples])

        wall, cpu = seconds_each(stack, 8)
        print(f"  {'stack into a batch':24} {1e3 * wall / BATCH_SIZE:6.3f} ms, {1e3 * cpu / BATCH_SIZE:6.3f} ms of CPU")
        for threads in (1, 2, 4, 8):
            batches = Batches(source, lambda example: example["inputs"], BATCH_SIZE, seed=0).iterate(
                threads=threads, prefetch=threads
            )
            for _ in range(2 * threads):
                next(batches)
            start, cpu, count = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() - start < SECONDS:
                next(batches)
                count += BATCH_SIZE
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            rate, each = count / wall, 1e3 * cpu / count
            print(f"  {threads} threads: {rate:6.0f} examples/s, {cpu / wall:.1f} CPUs busy, {each:.2f} ms of CPU each")
            del batches


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
        measure_reading(Path(folder))
        print()
        for workers in (1, 2, 4):
            measure_preparing(Path(folder), "without encoders", Encoding(), 200, workers)


if __name__ == "__main__":
    main()
