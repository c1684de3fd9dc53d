"""The same training step in lisa_jax and in PyTorch with diffusers, one after the other on this machine, side by side.

    python benchmarks/compare_torch.py --size=sd21 --batch=32       # one GPU: Stable Diffusion 2.1 at 512, bfloat16
    python benchmarks/compare_torch.py --size=embedded --batch=16   # any CPU: the base that ships, float32

Each runs in a process of its own, so that neither holds memory that the other needs. Both get the same sizes and the
same batch; lisa_jax shares the trunk between the two passes of the main network, PyTorch makes two full passes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = {
    "sd21": ("--config=configs/sd21_lisa.py", "--preset=sd21", "--config.accumulate=1"),
    "embedded": ("--config=configs/openmoji_lineart.py",),
}
DTYPES = {"sd21": "bfloat16", "embedded": "float32"}


def run_ours(size: str, batch: int, steps: int) -> dict[str, float | None]:
    """Figures of `lisa_jax bench`: images_per_second, step_ms_median, peak_gib."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bench.json"
        command = [sys.executable, "-m", "lisa_jax", "bench", *OURS[size]]
        command += [f"--config.batch_size={batch}", f"--steps={steps}", f"--out={out}"]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        found = json.loads(out.read_text())
    return {
        "images_per_second": found["images_per_second_per_device"],
        "step_ms_median": found["step_ms"]["p50"],
        "peak_gib": None if found["peak_bytes"] is None else found["peak_bytes"] / 2**30,
    }


def run_torch(size: str, batch: int, steps: int, options: list[str]) -> dict[str, float | None]:
    """Figures of `torch_reference.py`, with the same names."""
    command = [sys.executable, "benchmarks/torch_reference.py", f"--size={size}", f"--dtype={DTYPES[size]}"]
    command += [f"--batch={batch}", f"--steps={steps}", *options]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=OURS, default="sd21")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--torch_batch", type=int, help="Where PyTorch needs a smaller one to fit.")
    parser.add_argument("--steps", type=int, default=10)
    arguments, torch_options = parser.parse_known_args()
    print(f"{'':<10} {'images/s':>9} {'ms/step':>9} {'peak GiB':>9}", flush=True)
    ours = _told("lisa_jax", run_ours(arguments.size, arguments.batch, arguments.steps))
    torch_batch = arguments.torch_batch or arguments.batch
    theirs = _told("torch", run_torch(arguments.size, torch_batch, arguments.steps, torch_options))
    print(f"lisa_jax / torch: {ours['images_per_second'] / theirs['images_per_second']:.2f} x the images a second")


def _told(name: str, found: dict[str, float | None]) -> dict[str, float | None]:
    """One side's figures, with its line printed as soon as it is known."""
    peak = "unknown" if found["peak_gib"] is None else f"{found['peak_gib']:.1f}"
    print(f"{name:<10} {found['images_per_second']:9.2f} {found['step_ms_median']:9.1f} {peak:>9}", flush=True)
    return found


if __name__ == "__main__":
    main()
