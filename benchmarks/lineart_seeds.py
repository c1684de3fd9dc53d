"""Plain training against LISA on line art: the same steps, the same noise, several seeds.

    python benchmarks/lineart_seeds.py --out=runs/lineart_seeds [--seeds=0,1,2] [--lams=0,0.2] [--config.field=value]

Runs `lisa_jax train` and `lisa_jax evaluate` for every pair, continuing what an interrupted call left, then prints one
row a run, and mean and standard deviation over the seeds. Flags of the config are passed on to every run.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import app, flags

_OUT = flags.DEFINE_string("out", "runs/lineart_seeds", "Folder of all runs.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
_LAMS = flags.DEFINE_list("lams", ["0", "0.2"], "Weights of the alignment loss; 0 is plain training.")

CONFIG = "configs/openmoji_lineart.py"
COLUMNS = ("validation loss", "F1, tolerance 0", "F1, tolerance 1", "align/gap")


def run_one(workdir: Path, seed: str, lam: str, overrides: list[str]) -> list[float]:
    """Train and evaluate; returns the values of COLUMNS, NaN for align/gap without LISA."""
    settings = [f"--config.seed={seed}", f"--config.lisa.lam={lam}", *overrides]
    train = ["train", f"--config={CONFIG}", f"--workdir={workdir}", *settings]
    evaluate = ["evaluate", f"--workdir={workdir}", f"--out={workdir}/evaluation.json"]
    for command in (train, evaluate):
        subprocess.run([sys.executable, "-m", "lisa_jax", *command], check=True)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    validation = [line["validation/main_loss"] for line in lines if "validation/main_loss" in line][-1]
    align = [line["align_over_gap"] for line in lines if "align_over_gap" in line]
    f1 = json.loads((workdir / "evaluation.json").read_text())["fidelity"]["control"]
    return [validation, f1["f1_tolerance_0"], f1["f1_tolerance_1"], align[-1] if align else float("nan")]


def main(argv: list[str]) -> None:
    overrides = argv[1:]
    rows = {
        (lam, seed): run_one(Path(_OUT.value) / f"lam_{lam}_seed_{seed}", seed, lam, overrides)
        for seed in _SEEDS.value
        for lam in _LAMS.value
    }
    print(f"| lam | seed | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for (lam, seed), values in rows.items():
        print(f"| {lam} | {seed} | {' | '.join(f'{value:.4f}' for value in values)} |")
    for lam in _LAMS.value:
        runs = np.array([rows[lam, seed] for seed in _SEEDS.value])
        cells = [f"{mean:.4f} ± {sd:.4f}" for mean, sd in zip(runs.mean(0), runs.std(0, ddof=1), strict=True)]
        print(f"| {lam} | mean ± sd | {' | '.join(cells)} |")


if __name__ == "__main__":
    # Flags of the config are not ours: they are passed on.
    app.run(main, flags_parser=lambda argv: flags.FLAGS(argv, known_only=True))
