"""What a LISA step costs on TPU pods and on GPUs, compiled ahead of time, as tables.

    python benchmarks/scaling.py --out=scaling              needs `pip install -e ".[tpu]"`, no TPU
    python benchmarks/scaling.py --out=scaling --on=gpus    needs `pip install -e ".[cuda13]"`, jax 0.11.2, no GPU

Every row is compiled by `lisa_jax compile` in a process of its own, which takes minutes on two cores; a report that is
there already is not made again.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from absl import app, flags

from lisa_jax.commands._work.compile import DOES_NOT_FIT

_OUT = flags.DEFINE_string("out", None, "Folder for the reports.")
_ON = flags.DEFINE_enum("on", "tpus", ["tpus", "gpus"], "Which table.")


class Pod(NamedTuple):
    """A step on a pod or on GPUs; `fsdp` splits parameters, optimizer and frozen weights over so many chips.

    `size` is the side of an image, or frames, height and width of a clip; `images` are so many of either a chip. `rank`
    is that of a Control-LoRA; 0: none.
    """

    config: str
    topology: str
    images: int
    size: int | str
    lam: float = 0.2
    fsdp: int = 1
    remat: str = "full"
    rank: int = 0


SD15, SD21, SDXL, SD3, SVD = "sd15_lisa", "sd21_lisa", "sdxl_lisa", "sd3_lisa", "svd_lisa"
CLIP = "14x512x512"
# The first three differ in size alone: weak scaling.
PODS = (
    Pod(SD21, "v5e:2x4", 4, 512),
    Pod(SD21, "v5e:4x4", 4, 512),
    Pod(SD21, "v5e:16x16", 4, 512),
    Pod(SD21, "v5e:4x4", 4, 512, lam=0.0),
    Pod(SD21, "v5p:4x4x4", 8, 512),
    Pod(SD21, "v6e:16x16", 8, 512),
    Pod(SDXL, "v5p:4x4x4", 4, 1024, fsdp=16),
    Pod(SDXL, "v5p:4x4x4", 4, 1024, lam=0.0, fsdp=16),
    Pod(SDXL, "v6e:16x16", 4, 1024, fsdp=16),
    Pod(SD3, "v5p:4x4x4", 4, 1024),
    Pod(SD3, "v5p:4x4x4", 4, 1024, lam=0.0),
    Pod(SD3, "v5p:4x4x4", 16, 512),
    Pod(SD3, "v6e:16x16", 4, 1024, fsdp=16),
    Pod(SD3, "v6e:16x16", 8, 512, fsdp=16),
    Pod("sd35_large_lisa", "v5p:4x4x4", 4, 1024, fsdp=16),
    Pod("sd35_large_lisa", "v6e:16x16", 4, 1024, fsdp=16),
    Pod(SVD, "v5p:4x4x4", 1, CLIP),
    Pod(SVD, "v5p:4x4x4", 1, CLIP, lam=0.0),
    Pod(SVD, "v6e:16x16", 1, CLIP, fsdp=16),
)
GPUS = (
    Pod(SD21, "h100:1", 8, 512, remat="none"),
    Pod(SD21, "h100:1", 16, 512, remat="none"),
    Pod(SD21, "h100:1", 16, 512, lam=0.0, remat="none"),
    Pod(SD21, "h100:1", 16, 512, remat="dots"),
    Pod(SD21, "h100:1", 32, 512, remat="none"),
    Pod(SD21, "h100:1", 64, 512, remat="none"),
    Pod(SD21, "h100:1", 64, 512, lam=0.0, remat="none"),
    Pod(SD21, "h100:1", 64, 512, remat="dots"),
    Pod(SD21, "h100:8", 16, 512, remat="none"),
    Pod(SD21, "h100:8", 64, 512, remat="none"),
    Pod(SD21, "h100:8", 64, 512, lam=0.0, remat="none"),
    Pod(SD15, "h100:1", 16, 512, remat="none"),
    Pod(SD15, "h100:1", 16, 512, lam=0.0, remat="none"),
    Pod(SD15, "h100:1", 64, 512, remat="none"),
    Pod(SD15, "h100:1", 64, 512, lam=0.0, remat="none"),
    Pod(SD15, "h100:8", 64, 512, remat="none"),
    Pod(SD21, "h200:1", 128, 512, remat="none"),
    Pod(SD21, "a100:1", 64, 512, remat="none"),
    Pod(SD21, "l40s:1", 32, 512, remat="none"),
    Pod(SD21, "4090:1", 8, 512, remat="none"),
    Pod(SD21, "4090:1", 16, 512, remat="full"),
    Pod(SD15, "4090:1", 8, 512, remat="none"),
    Pod("sd21_v_lisa", "4090:1", 8, 768),
    Pod(SDXL, "h100:1", 16, 1024),
    Pod(SDXL, "4090:1", 4, 1024, rank=128),
    Pod(SDXL, "h100:8", 8, 1024, fsdp=8),
    Pod(SDXL, "h100:8", 8, 1024, lam=0.0, fsdp=8),
)
GPU_HEADER = (
    "| config | px | GPUs | fsdp | images a GPU | remat | loss | GiB a GPU | of | weights, optimizer, batch | "
    "kernels | GB moved a GPU | all-reduce, MB | bound: compute / memory / links, ms | images/s at most | compile, s |"
)
HEADER = (
    "| config | px | pod | fsdp | chips | images a chip | loss | GiB a chip | of | TFLOP a chip and step | "
    "all-reduce, MB | bound: compute / memory / links, ms | compile, s |"
)


def report(out: Path, pod: Pod) -> dict:
    """The report of one pod, from its file or made now."""
    path = out / ("_".join(map(str, pod)).replace(":", "_") + ".json")
    if not path.is_file():
        flags = {"config": f"configs/{pod.config}.py:pose", "config.remat": pod.remat, "config.lisa.lam": pod.lam}
        flags |= {"config.mesh.fsdp": pod.fsdp, "config.mesh.split_frozen": pod.fsdp > 1}
        flags |= {"config.side.lora_rank": pod.rank} if pod.rank else {}
        flags |= {
            "config.data.image_size": pod.size,
            "topology": pod.topology,
            "images_per_chip": pod.images,
            "out": path,
        }
        argv = [sys.executable, "-m", "lisa_jax", "compile", *(f"--{name}={value}" for name, value in flags.items())]
        if subprocess.run(argv).returncode not in (0, DOES_NOT_FIT):
            sys.exit(f"error: {pod} was not compiled.")
    return json.loads(path.read_text())["reports"]["lisa"]


def _named(pod: Pod) -> str:
    return f"{pod.config}, rank {pod.rank}" if pod.rank else pod.config


def row(pod: Pod, found: dict) -> str:
    """One line of the table."""
    compiled, times = found["compiled"], found["bound_seconds"]
    cells = (
        _named(pod),
        pod.size,
        pod.topology,
        pod.fsdp,
        found["chips"],
        pod.images,
        f"LISA, lam {pod.lam}" if pod.lam else "plain",
        f"{compiled['total_bytes'] / 2**30:.2f}",
        f"{found['hbm_bytes_per_chip'] / 2**30:.2f}",
        f"{compiled['flops'] / 1e12:.2f}",
        f"{compiled['collectives'].get('all-reduce', 0) / 1e6:.0f}",
        " / ".join(f"{1e3 * times[name]:.0f}" for name in ("compute", "memory", "interconnect")),
        f"{compiled['compile_seconds']:.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def gpu_row(pod: Pod, found: dict) -> str:
    """One line of the table of GPUs."""
    compiled, times = found["compiled"], found["bound_seconds"]
    cells = (
        _named(pod),
        pod.size,
        pod.topology,
        pod.fsdp,
        pod.images,
        pod.remat,
        f"LISA, lam {pod.lam}" if pod.lam else "plain",
        f"{compiled['total_bytes'] / 2**30:.1f}{'' if found['fits'] else ': does not fit'}",
        f"{found['hbm_bytes_per_chip'] / 2**30:.1f}",
        f"{compiled['argument_bytes'] / 2**30:.1f}",
        sum(kernels for kernels, _ in compiled["traffic"].values()),
        f"{compiled['hbm_bytes'] / 1e9:.0f}",
        f"{compiled['collectives'].get('all-reduce', 0) / 1e6:.0f}",
        " / ".join(f"{1e3 * times[name]:.0f}" for name in ("compute", "memory", "interconnect")),
        f"{found['images_per_second']:.0f}",
        f"{compiled['compile_seconds']:.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def main(_) -> None:
    pods, header, of = (PODS, HEADER, row) if _ON.value == "tpus" else (GPUS, GPU_HEADER, gpu_row)
    print(header)
    print("|" + "---|" * header.count(" | ") + "---|")
    for pod in pods:
        print(of(pod, report(Path(_OUT.value), pod)), flush=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("out")
    app.run(main)
