"""What a LISA step on Stable Diffusion 2.1 costs on TPU pods, compiled ahead of time, as a table.

    python benchmarks/scaling.py --out=scaling       needs `pip install -e ".[tpu]"`, no TPU; minutes a pod on two cores

Every pod is compiled by `lisa_jax compile` in a process of its own; a report that is there already is not made again.
"""

import json
import subprocess
import sys
from pathlib import Path

from absl import app, flags

_OUT = flags.DEFINE_string("out", None, "Folder for the reports.")

# Topology, images a chip, lam. The first three differ in size alone: weak scaling.
PODS = (
    ("v5e:2x4", 4, 0.2),
    ("v5e:4x4", 4, 0.2),
    ("v5e:16x16", 4, 0.2),
    ("v5e:4x4", 4, 0.0),
    ("v5p:4x4x4", 8, 0.2),
    ("v6e:16x16", 8, 0.2),
)
HEADER = (
    "| pod | chips | images a chip | loss | memory a chip, GiB | of | TFLOP a chip and step | all-reduce, MB | "
    "bound: compute / memory / links, ms | compile, s |"
)


def report(out: Path, topology: str, images: int, lam: float) -> dict:
    """The report of one pod, from its file or made now."""
    path = out / f"{topology.replace(':', '_')}_{images}_lam{lam}.json"
    if not path.is_file():
        flags = {"config": "configs/sd21_lisa.py:pose", "config.remat": "full", "config.lisa.lam": lam, "out": path}
        flags |= {"topology": topology, "images_per_chip": images}
        argv = [sys.executable, "-m", "lisa_jax", "compile", *(f"--{name}={value}" for name, value in flags.items())]
        subprocess.run(argv, check=True)
    return json.loads(path.read_text())["reports"]["lisa"]


def row(topology: str, images: int, lam: float, found: dict) -> str:
    """One line of the table."""
    compiled, times = found["compiled"], found["bound_seconds"]
    cells = (
        topology,
        found["chips"],
        images,
        f"LISA, lam {lam}" if lam else "plain",
        f"{compiled['total_bytes'] / 2**30:.2f}",
        f"{found['hbm_bytes_per_chip'] / 2**30:.2f}",
        f"{compiled['flops'] / 1e12:.2f}",
        f"{compiled['collectives'].get('all-reduce', 0) / 1e6:.0f}",
        " / ".join(f"{1e3 * times[name]:.0f}" for name in ("compute", "memory", "interconnect")),
        f"{compiled['compile_seconds']:.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def main(_) -> None:
    print(HEADER)
    print("|" + "---|" * HEADER.count(" | ") + "---|")
    for topology, images, lam in PODS:
        print(row(topology, images, lam, report(Path(_OUT.value), topology, images, lam)), flush=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("out")
    app.run(main)
