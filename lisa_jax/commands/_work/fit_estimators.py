"""What `lisa_jax fit_estimators` does, once its flags are read."""

import json
import logging
from pathlib import Path

import numpy as np
from absl import flags
from scipy import ndimage

from lisa_jax.data.embedded.figures import load_figures
from lisa_jax.evaluation.estimator_fitting import fit
from lisa_jax.evaluation.estimators import load_estimator, write_estimator
from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.evaluation.measures.table import MEASURES, read_tasks, true_fields
from lisa_jax.files.whole_file import write_whole_text

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")

DATA = "figures"


def read_split(split: str, image_size: int) -> dict[str, np.ndarray]:
    """Of a split of the figures, `image` and what measures compare with (`keypoints`, `depth`), each one array."""
    examples = list(load_figures(image_size, split))
    return {name: np.stack([example[name] for example in examples]) for name in ("image", *true_fields())}


def altered(images: np.ndarray) -> dict[str, np.ndarray]:
    """Test pictures that an estimator is scored on, by name, all uint8 (n, H, W, 3)."""
    noise = np.random.default_rng(0).normal(size=images.shape)
    sets = {
        "real": images,
        "other": np.roll(images, 1, axis=0),
        **{f"noise {level}": images + level * noise for level in (8, 16)},
        **{f"blur {sigma}": ndimage.gaussian_filter(images * 1.0, (0, sigma, sigma, 0)) for sigma in (0.5, 1.0)},
        "grey": np.full_like(images, 128),
    }
    return {name: np.clip(np.rint(pictures), 0, 255).astype(np.uint8) for name, pictures in sets.items()}


def main() -> None:
    out, image_size = Path(FLAGS.out), FLAGS.image_size
    train, test = read_split("train", image_size), read_split("test", image_size)
    scores = {"data": DATA, "image_size": image_size, "num_steps": FLAGS.num_steps, "seed": FLAGS.seed}
    for task in read_tasks():
        params = fit(task, train["image"], train[MEASURES[task].against], num_steps=FLAGS.num_steps, seed=FLAGS.seed)
        write_estimator(task, params, image_size, DATA, out)
        estimator = load_estimator(task, image_size, DATA, out)
        scores[task] = {"sha256": estimator.sha256}
        for name, images in altered(test["image"]).items():
            found = fidelity(task, images, test["image"], {}, test, {task: estimator})
            scores[task][name] = {measure: round(value, 4) for measure, value in found.items()}
            _LOG.info("%s, %s: %s", task, name, ", ".join(f"{key} {value:.3f}" for key, value in found.items()))
    write_whole_text(out / f"scores_{image_size}.json", json.dumps(scores, indent=2) + "\n")
