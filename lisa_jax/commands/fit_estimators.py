"""Fit the networks that read key points and depth off generated figures, and score them on the real test pictures.

    python -m lisa_jax fit_estimators --out=DIR [--image_size=32] [--seed=0]

Writes DIR/pose_32.safetensors and DIR/depth_32.safetensors, and DIR/scores_32.json: what each measures on real test
pictures (the ceiling), on those of other examples (the floor), and on real ones with some noise or blur.
`lisa_jax.evaluation.estimators.load_estimator(..., folder=DIR)` reads them. About eight minutes of CPU time at 32 px.
"""

from absl import flags

from lisa_jax.commands._flags import COUNT, DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.bounds import EMBEDDED_SIDE, SEED

DEFINE_checked("out", None, "Folder for the weights and scores.", Folder())
DEFINE_checked("image_size", 32, "Side of the pictures in pixels.", EMBEDDED_SIDE)
DEFINE_checked("num_steps", 1500, "Training steps of 32 pictures, each network.", COUNT)
DEFINE_checked("seed", 0, "Seed of weights, batches and augmentation.", SEED)


def main() -> None:
    from lisa_jax.commands._work import fit_estimators

    fit_estimators.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["out"])
    run_command(main)
