"""Folders such as studies and training runs leave, made up and small: one task, three seeds, samples, probes."""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from lisa_jax.media.animation import encoded_webp
from lisa_jax.media.video import VIDEO
from lisa_jax.studies.grid import read_cell

STEPS = (100, 200, 400, 800)
IDENTITY = {"code": "c0de", "base": "ba5e", "data": "da7a", "protocol": {"note": "</script><b>&"}}
ARMS = (
    {"lam": 0.0, "hook": None},
    {"lam": 0.2, "hook": "down_3"},
    {"lam": 1.0, "hook": "down_3"},
    {"lam": 0.2, "hook": ["down_1", "mid"]},
    {"lam": 0.2, "hook": "down_3", "lam_stop_step": 400},
)


def cell(task="lineart", seed=0, learning_rate=1e-3, **fields):
    return {
        "task": task,
        "lam": 0.0,
        "learning_rate": learning_rate,
        "seed": seed,
        "batch_size": 8,
        "num_steps": STEPS[-1],
        "hook": None,
        "lam_decay_steps": None,
        "lam_stop_step": None,
        "compute_dtype": "float32",
        "align_every": 1,
        "decoder_width": 1.0,
        "weighting": "uniform",
    } | fields


def row(of, speed=1.0, offset=0.0, measure="f1_tolerance_0"):
    """A run whose fidelity is 0.9 (1 - exp(-speed step / 200)) + offset."""
    curve = []
    for step in STEPS:
        progress = 1 - math.exp(-speed * step / 200)
        point = {"step": step, "validation/main_loss": 0.1 - 0.05 * progress + offset / 10}
        for quarter in range(1, 5):
            point[f"validation/main_loss_q{quarter}"] = 0.02 * quarter * (1.2 - progress)
            if of["lam"]:
                point[f"validation/gap_power_q{quarter}"] = 0.03 * quarter
                point[f"validation/align_loss_q{quarter}"] = 0.025 * quarter * (1.1 - 0.5 * progress)
        if of["lam"]:
            point |= {"validation/trunk_grad_main": 0.02, "validation/trunk_grad_align": 0.03}
            point |= {"validation/trunk_grad_cosine": 0.3, "validation/align_over_gap": 1 - 0.5 * progress}
        curve.append(point | {f"fidelity/{measure}": 0.9 * progress + offset})
    hook = of["hook"] if isinstance(of["hook"], str) else "+".join(of["hook"] or ())
    arm = f"lam{of['lam']:g}_{hook}_{of['lam_stop_step'] or ''}" if of["lam"] else "plain"
    name = f"{of['task']}_{arm}_lr{of['learning_rate']:g}_seed{of['seed']}"
    timing = {"seconds_per_step": 0.013 if of["lam"] else 0.01, "flops_per_step": 1.3e9 if of["lam"] else 1e9}
    return {"id": name, "cell": of, "curve": curve, **timing, "seconds": 12.3, "device": "a <fast> one"}


def rows(seeds=3):
    return [
        row(cell(seed=seed, **arm), speed=1 + 0.2 * arm["lam"], offset=0.004 * seed)
        for seed in range(seeds)
        for arm in ARMS
    ]


def as_read(runs):
    """Runs as they come back from a study's folder."""
    return [{**run, "cell": read_cell(run["cell"])} for run in runs]


def write_study(folder, runs, identity=IDENTITY):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"identity": identity}, *runs]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    references = {"lineart": {"real": {"f1_tolerance_0": 0.95}, "no control": {"f1_tolerance_0": None}}}
    (folder / "references.json").write_text(json.dumps(references))
    return folder


def write_quality(folder, runs):
    """Distances that fall from step to step, less far with LISA."""

    def write(name, sets):
        content = {"extractor": {"name": "net", "sha256": "aa"}, "examples": 64, "references": 1000}
        (folder / f"{name}.json").write_text(json.dumps(content | {"image_size": [32, 32], "sets": sets}))

    folder = Path(folder) / "quality"
    folder.mkdir()
    for run in runs:
        offset = 5.0 if run["cell"]["lam"] else 0.0
        write(run["id"], {str(step): {"fd_effnet_lite0": 100 - step / 10 + offset} for step in STEPS})
    write("lineart", {"real": {"fd_effnet_lite0": 9.0}, "no control": {"fd_effnet_lite0": 120.0}})


def picture(path, colour, size=(64, 64)):
    """A picture of one colour with a darker frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), colour, np.uint8)
    pixels[:4], pixels[:, :4] = pixels[:4] // 2, pixels[:, :4] // 2
    Image.fromarray(pixels).save(path)


def clip(path, colour):
    """A clip in the picture's place, eight frames that take 0.8 s: blue rises by 30 from each to the next."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.full((8, 64, 64, 3), colour, np.uint8)
    frames[..., 2] = 30 * np.arange(8)[:, None, None]
    path.with_suffix(".webp").write_bytes(encoded_webp(frames, 10))


def write_samples(folder, runs, show=picture):
    """A picture for every run and step, whose red channel tells the step and whose green channel the run."""
    for name in ("condition", "reference"):
        show(Path(folder) / "samples" / "lineart" / f"{name}.png", (40, 40, 200))
    for number, run in enumerate(runs):
        for index, step in enumerate(STEPS):
            show(Path(folder) / "samples" / run["id"] / f"{step}.png", (60 * (index + 1), 10 * number, 90))


def write_clips(folder):
    """A study of clips, and a training run whose previews move: their folders."""
    folder, runs = Path(folder), rows(seeds=1)
    study = write_study(folder / "clips", runs)
    write_samples(study, runs[:2], show=clip)
    training = write_training(folder / "moving", 0.2, steps=(10, 20))
    for still in sorted((training / "previews").glob("*.png")):
        VIDEO.write(still.with_suffix(".gif"), np.full((4, 20, 70, 3), 80, np.uint8), fps=10)
    return [study, training]


def write_probes(folder, runs):
    lines = []
    for run in runs:
        better = 0.2 if run["cell"]["lam"] else 0.0
        probed = [
            {"feature": feature, "quantile": quantile, "target": target, "r2": 0.3 + better + 0.4 * quantile}
            | {"untrained": 0.05}
            for feature in ("down_1", "down_3", "mid")
            for target in ("condition", "clean")
            for quantile in (0.1, 1.0)
        ]
        decoder = [{"quantile": 0.1, "r2": 0.4 if better else None, "network_r2": 0.5}]
        lines.append(
            {name: run["cell"][name] for name in ("lam", "hook", "task", "seed")}
            | {
                "id": run["id"],
                "step": 800,
                "setting": {},
                "alignment": {"lam_stop_step": run["cell"]["lam_stop_step"]},
                "rows": probed,
                "decoder": decoder,
            }
        )
    (Path(folder) / "probes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_evaluations(folder):
    fidelity = {"control": {"f1_tolerance_0": 0.8}, "real images": {"f1_tolerance_0": None}}
    (Path(folder) / "evaluation.json").write_text(json.dumps({"task": "lineart", "step": 800, "fidelity": fidelity}))
    quality = {"fd_net": 12.5, "intervals": {"fd_net": [11.0, 14.0]}, "extractor": {"name": "net<1>"}}
    (Path(folder) / "quality.json").write_text(json.dumps({"quality": quality}))
    (Path(folder) / "other.json").write_text("[1, 2]")


def write_training(folder, lam, steps=(10, 20, 30)):
    folder = Path(folder)
    folder.mkdir(parents=True)
    config = {"data": {"condition": "lineart"}, "lisa": {"lam": lam}, "base": "<i>base</i>"}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [{"step": step, "main_loss": 1 / step, "align_loss": 2 / step} for step in steps]
    lines += [{"step": steps[-1], "validation/main_loss": 0.25}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 40, "ma')
    for step in steps:
        picture(folder / "previews" / f"samples_{step:07d}.png", (5 * step, 90, 90), size=(700, 200))
    return folder


def write_all(folder):
    """A study with everything, and two training runs: their folders."""
    folder = Path(folder)
    runs = rows()
    study = write_study(folder / "small_study", runs)
    write_samples(study, runs[: 2 * len(ARMS)])
    write_quality(study, runs)
    write_probes(study, runs)
    write_evaluations(study)
    trainings = [write_training(folder / name, lam) for name, lam in (("with_lisa", 0.2), ("without", 0.0))]
    return [study, *trainings]
