"""Prepare a data set: rows of (image, condition, caption), or of videos, become shards that training reads fast.

    python -m lisa_jax prepare --source=SPEC --out=DIR --base=BASE --image_size=512 --condition=canny
    python -m lisa_jax prepare --source=SPEC --out=DIR --base=BASE --condition_column=pose=pose_image --buckets
    python -m lisa_jax prepare --source=DIR --out=DIR --base=BASE --image_size=576x1024 --frames=14 --fps=7 ...

SPEC is `parquet:FILES`, `folder:DIR_OR_LISTING`, `webdataset:FILES`, `tfds:DIR`, `arrow:DIR` (of save_to_disk) or
`captions:DIR` (pictures with .txt beside them); the prefix may be left out where the files tell the kind. Or it is
`owner/name[@revision]` of the Hugging Face hub, whose Parquet files of one --subset and --split are fetched. Images and
conditions are resized and cropped together; what the base's encoders make of them and of the captions is computed once
and stored in bfloat16, unless --cache says otherwise. The same command continues after a kill. DIR appears when
everything is done; `tfds.builder_from_directory(DIR)` opens it.
"""

from absl import flags

from lisa_jax.commands._flags import COUNT, CountOrAll, DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.commands._source_flags import DEFINE_source
from lisa_jax.drawing.sizes import SizeText
from lisa_jax.experiments.kinds import Number, Text, Whole

DEFINE_source("Where the rows are.")
DEFINE_checked("out", None, "Folder of the prepared data set.", Folder())
DEFINE_checked("base", None, "Base that trains later; its encoders are used.", Text())
DEFINE_checked("vae", None, "A VAE in place of the base's, as its config.vae in training.", Text())
flags.DEFINE_list(
    "leave_out", [], "Components that the base is to do without, as its config.leave_out in training: text_encoder_3."
)
DEFINE_checked(
    "image_size",
    "512",
    "HEIGHTxWIDTH, or the side of square images; of --buckets, of a square of their area.",
    SizeText(),
)
flags.DEFINE_bool("buckets", False, "Keep about each image's aspect ratio: a fixed list of sizes.")
DEFINE_checked("frames", None, "Frames of a clip: rows are of videos, files or folders of frames.", COUNT)
DEFINE_checked(
    "fps",
    None,
    "Frames a second of clips, by the times of a video's frames; of a folder of frames, what they are. By default the "
    "video's own.",
    Number(least=0.01, most=1000.0),
)
DEFINE_checked("stride", None, "Take every so many-th frame, instead of by times; --fps then says their rate.", COUNT)
DEFINE_checked(
    "min_size",
    None,
    "Least shorter side of an image that may be enlarged; by default images that are too small are bad.",
    Whole(0, 2**14),
)
DEFINE_checked(
    "clips_per_video",
    "1",
    "How many clips are cut out of a video at most, one after the other from its beginning; all: as many as are whole.",
    CountOrAll(),
)
flags.DEFINE_multi_string(
    "condition", [], "Condition to compute: a name, module:function, or name=module:function. May be repeated."
)
flags.DEFINE_multi_string(
    "condition_column", [], "Column of a condition that the rows bring: a column, or name=column. May be repeated."
)
flags.DEFINE_list(
    "nearest", [], "Conditions of columns whose colours are classes, as segmentation: resized without mixing colours."
)
flags.DEFINE_list(
    "stretch", [], "Conditions of columns that are stretched to their images' shapes, where an annotator rounded sides."
)
flags.DEFINE_list(
    "channels", [], "name=NUMBER of conditions of columns that have not 3 channels: 1 is grey, 4 colours and opacity."
)
DEFINE_checked("image_column", "image", "Column of the image.", Text())
DEFINE_checked("caption_column", "caption", "Column of the caption.", Text())
DEFINE_checked("labels_column", None, "Column of a class map, for --condition=segmentation.", Text())
flags.DEFINE_enum(
    "empty_captions", "refuse", ["refuse", "keep"], "Whether a row without a caption is bad, or has the empty one."
)
flags.DEFINE_bool("caption_lines", False, "Take each line of a caption as one of its own; training draws one a step.")
DEFINE_checked("max_rows", None, "Take so many rows, the first ones; by default all.", COUNT)
flags.DEFINE_list("cache", ["moments", "context"], "What to encode now: moments, context; or none.")
DEFINE_checked(
    "batch_size", None, "Images or clips that are encoded at once; by default 8, of clips one a device.", Whole(1, 4096)
)
DEFINE_checked("workers", None, "Threads that decode and resize; one a CPU by default.", Whole(1, 1024))
flags.DEFINE_enum("on_error", "fail", ["fail", "skip"], "What to do about a row that cannot be used.")
DEFINE_checked("test_fraction", 0.02, "Share of the images for the test split.", Number(least=0.0, most=1.0))
DEFINE_checked("chunk_rows", None, "Rows a shard; what a kill can cost. By default 1000, of clips 100.", COUNT)


def main() -> None:
    from lisa_jax.commands._work import prepare

    prepare.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["source", "out"])
    run_command(main, kept="leaving; what is finished is kept, and the same command goes on from there.")
