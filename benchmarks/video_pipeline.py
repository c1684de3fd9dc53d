"""How fast clips are prepared, and what bounds it.

    python benchmarks/video_pipeline.py                1024 x 576, 14 frames, without a base
    python benchmarks/video_pipeline.py --base=BASE    with the encoders of a base of videos

Videos are procedural: a panorama that moves, with noise as of a camera, 1280 x 720, 60 frames at 30 a second, as MP4
and as folders of PNG. Clips take 14 frames of them at 7 a second, resized to 1024 x 576; the condition is another
video, or Canny edges of each frame.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.rows import Columns, FirstRows, Row, Rows, open_rows
from lisa_jax.media.video import VIDEO
from lisa_jax.preparing.clips import ClipMaker
from lisa_jax.preparing.encoding import Encoding, load_encoding
from lisa_jax.preparing.prepare import Task, prepare

SIZE, FRAMES, FPS = (576, 1024), 14, 7.0
HEIGHT, WIDTH, LENGTH, RATE = 720, 1280, 60, 30
DIFFERENT = 4


def panorama(seed: int) -> np.ndarray:
    """A video, uint8 (LENGTH, HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 24, 3), np.uint8)
    whole = cv2.resize(coarse, (WIDTH + 8 * LENGTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noise = rng.normal(0, 4, (HEIGHT, WIDTH, 3)).astype(np.int16)
    frames = (whole[:, 8 * number : 8 * number + WIDTH] + np.roll(noise, 37 * number, 1) for number in range(LENGTH))
    return np.stack([frame.clip(0, 255).astype(np.uint8) for frame in frames])


def write_videos(folder: Path) -> None:
    """A few videos of each kind, in folders of their own, and beside them copies as conditions."""
    for seed in range(DIFFERENT):
        video = panorama(seed)
        for kind, name in (("mp4", f"{seed}.mp4"), ("png", f"{seed}")):
            for column in ("image", "depth"):
                (folder / kind / column).mkdir(parents=True, exist_ok=True)
                VIDEO.write(folder / kind / column / name, video, RATE)


class Repeated:
    """Rows again and again, so that there are `count`."""

    def __init__(self, rows: Rows, count: int):
        self._rows, self._count = rows, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Row:
        return self._rows[index % len(self._rows)]

    def fingerprint(self) -> str:
        """Never compared."""
        return "repeated"


def measure(source: Path, out: Path, encoding: Encoding, clips: int, workers: int, computed: bool) -> None:
    """Print the rate of preparing."""
    conditions = {} if computed else {"depth": "depth"}
    rows = Repeated(open_rows(str(source), Columns(conditions=conditions, clips=True)), clips)
    maker = ClipMaker(
        sizes=(SIZE,),
        given=tuple(conditions),
        computed={"canny": get_condition("canny")} if computed else {},
        test_fraction=0.0,
        frames=FRAMES,
        fps=FPS,
        # Frames of a folder have no times.
        stride=None if source.name == "mp4" else 4,
    )
    task = Task(maker, encoding, 100, False, {})
    if encoding.latents is not None:
        # Compiles.
        prepare(FirstRows(rows, encoding.batch_size), task, out.with_name("warm"), workers=workers)
    start, cpu = time.perf_counter(), time.process_time()
    metadata = prepare(rows, task, out, workers=workers)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    stored = sum(shard.bytes for shards in metadata.splits.values() for shard in shards) / clips
    kind = f"{source.name} with {'canny' if computed else 'a video beside it'}"
    print(
        f"{kind}, {workers} workers: {clips / wall:.2f} clips/s ({FRAMES * clips / wall:.0f} frames/s), "
        f"{cpu / wall:.1f} CPUs busy, {cpu / clips:.2f} s of CPU each, {stored / 1e6:.1f} MB a clip"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="folder of a base of videos whose encoders are used")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--batch_size", type=int, default=1)
    flags = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_videos(folder)
        encoding = Encoding()
        if flags.base:
            encoding = load_encoding(flags.base, ("moments", "context"), flags.batch_size, axes=VIDEO.axes)
        for kind in ("mp4", "png"):
            for computed in (False, True):
                for workers in (1, 2) if not flags.base else (os.cpu_count(),):
                    out = folder / f"{kind}-{computed}-{workers}"
                    measure(folder / kind, out, encoding, flags.clips, workers, computed)


if __name__ == "__main__":
    main()
