"""Sample images with a trained side network, on the data set that it was trained for.

    python -m lisa_jax.sample --workdir=DIR --out=OUT [--num=32] [--control_scale=1.0] [--guidance_scale=2.0]

Writes OUT/<index>.png and OUT/grid.png: condition | sample | reference.
"""

import logging
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image
from tqdm import tqdm

from lisa_jax.run import load_run, load_split, run_command
from lisa_jax.sampling.generate import make_generator
from lisa_jax.sampling.grid import labelled_grid

_LOG = logging.getLogger("lisa_jax")
_WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of a training run.")
_OUT = flags.DEFINE_string("out", None, "Folder for the pictures.")
_SPLIT = flags.DEFINE_string("split", "test", "Split that conditions and captions come from.")
_NUM = flags.DEFINE_integer("num", 32, "Number of examples, from the first on.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Sample i depends on (seed, i) alone.")
_STEPS = flags.DEFINE_integer("num_steps", None, "DDIM steps; the config's by default.")
_GUIDANCE = flags.DEFINE_float("guidance_scale", None, "Classifier-free guidance; the config's by default.")
_CONTROL = flags.DEFINE_float("control_scale", None, "Factor on the side network's residuals; the config's by default.")
_WEIGHTS = flags.DEFINE_enum("weights", "auto", ["auto", "ema", "raw"], "Which parameters to use.")

BATCH_SIZE = 16
GRID_EXAMPLES = 32


def main() -> None:
    run = load_run(_WORKDIR.value, _WEIGHTS.value)
    split = load_split(run.config, run.family, _SPLIT.value)
    overrides = {
        "num_steps": _STEPS.value,
        "guidance_scale": _GUIDANCE.value,
        "control_scale": _CONTROL.value,
    }
    settings = run.config.sampling.to_dict() | {name: value for name, value in overrides.items() if value is not None}
    generate = make_generator(run.family, **settings)
    out = Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)

    columns = {"condition": [], "sample": [], "reference": []}
    total = min(_NUM.value, len(split.source))
    with tqdm(total=total, unit="image", dynamic_ncols=True) as bar:
        for batch in split.ordered_batches(run.config.data.condition, BATCH_SIZE):
            rows = slice(0, total - bar.n)
            samples = generate(
                run.family.frozen,
                run.side,
                batch["context"][rows],
                batch["condition"][rows],
                batch["index"][rows],
                seed=_SEED.value,
            )
            for index, image in zip(batch["index"], samples, strict=False):
                Image.fromarray(image).save(out / f"{index:05d}.png")
            pictures = {"condition": batch["condition"][rows], "sample": samples, "reference": batch["image"][rows]}
            for name, found in pictures.items():
                columns[name].append(found)
            bar.update(len(samples))
            if bar.n == total:
                break
    shown = {name: np.concatenate(found)[:GRID_EXAMPLES] for name, found in columns.items()}
    Image.fromarray(labelled_grid(shown, blocks=4)).save(out / "grid.png")
    _LOG.info("%d images and grid.png are in %s (parameters of step %d).", total, out, run.step)


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "out"])
    run_command(main)
