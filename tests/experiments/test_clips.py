"""Videos from files to a run and to samples, beside the toy video family."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys.members import FAMILIES, FLOAT32, MEMBERS
from toys.video import family as toy

from lisa_jax.configs import base as base_config
from lisa_jax.data.embedded.figures_video import figures_video_dataset_builder
from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.data.rows import Columns, open_rows
from lisa_jax.drawing.order import order_of_split
from lisa_jax.drawing.sheet import columns_of
from lisa_jax.experiments.splits import load_split, training_batches
from lisa_jax.experiments.training_run import training_experiment
from lisa_jax.families import registry
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.family import Setup
from lisa_jax.media.open_clip import open_clip
from lisa_jax.media.video import VIDEO
from lisa_jax.preparing.clips import ClipMaker
from lisa_jax.preparing.encoding import Encoding, load_encoding
from lisa_jax.preparing.prepare import Task, prepare
from lisa_jax.training.loop import fit

ROOT = Path(__file__).parents[2]
MEMBER = MEMBERS[toy.read_architecture]
COUNT = 12
SHOWS_FIRST_FRAMES = Conditioner(
    dict,
    lambda examples: {"first": np.stack([example["first_frame"] for example in examples])},
    lambda params, rows: rows,
    lambda context, empty: context,
    lambda size: {"first": jax.ShapeDtypeStruct((*size[-2:], 3), jnp.uint8)},
    sees_pictures=True,
    reads_captions=False,
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(registry, "FAMILIES", FAMILIES)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "toy"
    toy.write_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """12 folders of 5 frames of 8 x 8, with two conditions, one twice as large."""
    root = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for kind, side in (("image", 8), ("pose", 8), ("seg", 16)):
        (root / kind).mkdir()
        for number in range(COUNT):
            VIDEO.write(root / kind / f"{number:02d}", rng.integers(0, 256, (5, side, side, 3), np.uint8))
    return root


def prepared(videos, base, out, cache=("moments", "context"), chunk_rows=5, encoding=None):
    """4 frames of 8 x 8, at 5 a second."""
    rows = open_rows(str(videos), Columns(conditions={"pose": "pose", "seg": "seg"}, clips=True))
    maker = ClipMaker(
        sizes=((8, 8),), given=("pose", "seg"), computed={}, test_fraction=0.3, frames=4, fps=5.0, stride=None
    )
    encoding = encoding or load_encoding(base, cache, 2, axes=3)
    return prepare(rows, Task(maker, encoding, chunk_rows, False, {"cache": list(cache)}), out, workers=2)


@pytest.fixture(scope="module")
def data(videos, base, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "FAMILIES", FAMILIES)
        prepared(videos, base, folder := tmp_path_factory.mktemp("data") / "set")
    return folder


@pytest.fixture(scope="module")
def family(base):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "FAMILIES", FAMILIES)
        return registry.load_family(base, Setup(("pose", "seg"), **FLOAT32))


def config_of(base, folder, **changes):
    config = base_config.control()
    config.update(base=str(base), batch_size=2, accumulate=1, num_steps=2, save_every=2, log_every=1, **FLOAT32)
    config.update(eval_every=2, preview_every=2, preview_count=2, trackers=(), **changes)
    config.data = {**config.data.to_dict(), "dir": str(folder), "condition": ("pose", "seg"), "image_size": (4, 8, 8)}
    config.lisa.hook = MEMBER.hooks[0]
    config.sampling.update(sampler="euler", num_steps=2, guidance_scale=1.0)
    return config


def test_what_is_stored_of_a_clip_is_what_the_base_makes_of_it(data, videos, family):
    source = load_prepared(data)
    assert source.sizes == ((4, 8, 8),) and source.cached == ("moments", "context")
    examples = [*source, *load_prepared(data, "test")]
    assert len(examples) == COUNT
    clips = np.stack([VIDEO.read(videos / "image" / f"{number:02d}")[:4] for number in range(COUNT)])
    expected = np.asarray(family.latents.moments(family.latents.params, clips))
    stored = np.stack([example["inputs"]["moments"] for example in examples]).astype(np.float32)
    close = [[np.allclose(one, other, rtol=2**-7, atol=1e-3) for other in expected] for one in stored]
    assert np.sum(close, axis=0).tolist() == np.sum(close, axis=1).tolist() == [1] * COUNT
    for example in examples:
        assert example["fps"] == 5 and example["size"] == (8, 8) and example["caption"] == ""
        inputs = example["inputs"]
        assert inputs.keys() == {"moments", "context", "condition_moments"}
        assert inputs["moments"].shape == inputs["condition_moments"]["seg"].shape == (2, 4, 4, 8)
        assert inputs["context"]["time_ids"].tolist() == [5, 4]


def test_continued_it_is_the_same_to_the_bit(videos, base, data, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    made, rest = ClipMaker.__call__, iter(range(8))

    def dies(maker, row):
        if next(rest, None) is None:
            raise Killed
        return made(maker, row)

    monkeypatch.setattr(ClipMaker, "__call__", dies)
    with pytest.raises(Killed):
        prepared(videos, base, tmp_path / "set")
    monkeypatch.setattr(ClipMaker, "__call__", made)
    prepared(videos, base, tmp_path / "set")
    for path in data.iterdir():
        assert (tmp_path / "set" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("cache", [(), ("moments",)])
def test_a_conditioner_reads_the_first_frame_and_the_rate_mirrored_with_the_clip(videos, base, family, tmp_path, cache):
    prepared(videos, base, tmp_path / "set", cache)
    read, rates, none = family.conditioner.read, set(), np.zeros((8, 8, 3), np.uint8)

    def reads(examples):
        rates.update(example.get("fps") for example in examples)
        # The empty caption is of no clip.
        return read(examples) | {"first": np.stack([example.get("first_frame", none) for example in examples])}

    family = dataclasses.replace(family, conditioner=dataclasses.replace(family.conditioner, read=reads))
    config = config_of(base, tmp_path / "set", seed=1)
    config.data.flip = not cache
    shown = next(load_split(config, family, "test").ordered_batches(2))
    assert load_split(config, family, "test").contexts(shown)["tokens"].shape[0] == 2
    split = load_split(config, family, "train")
    mirrored = 0
    for batch in (training_batches(config, split).batch_at(step) for step in range(4)):
        inputs = batch["inputs"]
        for row, index in enumerate(batch["index"]):
            plain = split.source[int(index)]
            first = plain["first_frame"] if cache else plain["inputs"]["image"][0]
            if not cache:
                np.testing.assert_array_equal(inputs["read"]["first"][row], inputs["image"][row][0])
            is_mirrored = not np.array_equal(inputs["read"]["first"][row], first)
            expected = first[:, ::-1] if is_mirrored else first
            np.testing.assert_array_equal(inputs["read"]["first"][row], expected)
            mirrored += is_mirrored
    assert rates == {5, None} and (0 < mirrored < 8 if not cache else not mirrored)


def test_cached_contexts_that_show_pictures_are_not_mirrored(videos, base, family, tmp_path):
    prepared(videos, base, tmp_path / "set", ("context",))
    config = config_of(base, tmp_path / "set")
    config.data.flip = True
    training_batches(config, load_split(config, family, "train"))
    seeing = dataclasses.replace(family, conditioner=dataclasses.replace(family.conditioner, sees_pictures=True))
    with pytest.raises(ValueError, match="holds cached contexts, which show pictures that cannot be mirrored"):
        training_batches(config, load_split(config, seeing, "train"))


def test_embedded_clips_are_mirrored_with_the_first_frame_that_their_context_shows(base, family, tmp_path, monkeypatch):
    monkeypatch.setattr(figures_video_dataset_builder, "COUNTS", {"train": 6, "test": 3})
    monkeypatch.setenv("LISA_JAX_DATA", str(tmp_path))
    family = dataclasses.replace(family, conditioner=SHOWS_FIRST_FRAMES)
    config = config_of(base, "", batch_size=6)
    config.data = {"name": "figures_video", "dir": "", "condition": "pose", "image_size": (2, 16, 16), "flip": True}
    split = load_split(config, family, "train")
    mirrored = []
    for batch in (training_batches(config, split).batch_at(step) for step in range(3)):
        for row, index in enumerate(batch["index"]):
            inputs = jax.tree.map(lambda leaf, row=row: leaf[row], batch["inputs"])
            mirrored.append(not np.array_equal(inputs["image"], split.source[int(index)]["image"]))
            seen = VIDEO.mirror if mirrored[-1] else np.asarray
            plain = split.make_inputs({**split.source[int(index)], "index": int(index)})
            np.testing.assert_array_equal(inputs["image"], seen(plain["image"]))
            np.testing.assert_array_equal(inputs["condition"]["pose"], seen(plain["condition"]["pose"]))
            np.testing.assert_array_equal(inputs["context"]["first"], inputs["image"][0])
    assert 3 < sum(mirrored) < 15


def test_a_first_frame_is_cached_where_a_context_holds_it_and_no_captions_are_read(videos, base, family, tmp_path):
    encoding = Encoding(family.latents, family.condition, SHOWS_FIRST_FRAMES, family.fingerprint, 2)
    prepared(videos, base, tmp_path / "set", encoding=encoding)
    source = load_prepared(tmp_path / "set")
    assert source.empty_context == {} and source[0].keys() >= {"fps", "inputs"}
    first_frames = {VIDEO.read(folder)[0].tobytes() for folder in (videos / "image").iterdir()}
    assert {example["inputs"]["context"]["first"].tobytes() for example in source} <= first_frames


def test_data_of_another_number_of_frames_are_refused(data, base, family):
    config = config_of(base, data)
    config.data.image_size = (6, 8, 8)
    with pytest.raises(ValueError, match=r"was prepared at 4x8x8 \(frames x height x width\), but config"):
        training_batches(config, load_split(config, family, "train"))


def test_a_base_of_videos_asks_for_frames_and_one_of_images_for_none(base):
    with pytest.raises(ValueError, match="makes videos: say how many --frames they have"):
        load_encoding(base, ("moments",), 2)


def test_a_number_at_once_that_devices_cannot_share_is_refused_by_its_flag(base, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 3)
    with pytest.raises(ValueError, match=r"^--batch_size=2 must be a multiple of the 3 devices\.$"):
        load_encoding(base, ("moments",), 2, axes=3)


def test_a_run_trains_counts_clips_and_shows_previews_that_move(data, base, family, tmp_path, capsys):
    config = config_of(base, data)
    config.lisa.lam = 0.0
    experiment = training_experiment(config, family)
    # Validation, which takes 5 s to compile, knows nothing of clips: the slow test below has it.
    experiment = dataclasses.replace(experiment, evaluations=experiment.evaluations[1:])
    assert int(fit(experiment, config, str(tmp_path)).step) == 2
    assert "clips/s" in capsys.readouterr().err
    shown = VIDEO.read(tmp_path / "previews" / "samples_0000002.gif")
    assert len(shown) == 4 and shown.std() > 10 and (tmp_path / "previews" / "samples_0000002.png").is_file()


def test_what_is_drawn_of_a_split_are_clips_of_the_rate_of_the_data(data, base, family, tmp_path):
    split = load_split(config_of(base, data), family, "test")
    order, drawings = order_of_split(tmp_path, split, 2, {}), []
    for drawing in order.drawings:
        assert drawing.fps == 5 and drawing.decoded and drawing.reference.shape == (4, 8, 8, 3)
        order.out.write(drawing.index, drawing.reference, drawing.fps)
        drawings.append(drawing)
    assert order.out.finished() == {0, 1}
    with open_clip(tmp_path / "00001.mp4", "") as clip:
        assert (clip.rate, clip.count) == (5, 4)
    # The sheet says that the data set keeps no reference but its latents.
    columns = columns_of(drawings, order.out, bare=None)
    assert list(columns) == ["pose", "seg", "with control", "reference (decoded)"]
    kept = columns_of([dataclasses.replace(drawing, decoded=False) for drawing in drawings], order.out, bare=None)
    assert list(kept)[-1] == "reference"
    as_drawn, otherwise = (VIDEO.sheet(shown, captions=["a", "b"]) for shown in (columns, kept))
    assert as_drawn.shape == otherwise.shape
    differs = np.argwhere((as_drawn != otherwise).any(axis=-1))
    # In the line of titles alone, over the last column.
    assert len(differs) and differs[:, 0].max() < 128 // 5 and differs[:, 1].min() > 0.7 * as_drawn.shape[1]


@pytest.mark.slow
def test_by_commands_it_is_prepared_trained_resumed_and_sampled(videos, base, tmp_path):
    """`python -m pytest -m slow tests/experiments/test_clips.py`, half a minute."""
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}

    def run(*argv):
        done = subprocess.run([sys.executable, "-m", "toys.video", *argv], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    data, workdir, out = tmp_path / "set", tmp_path / "run", tmp_path / "out"
    columns = ("--condition_column=pose", "--condition_column=seg", "--test_fraction=0.3")
    size = ("--image_size=8", "--frames=4", "--fps=5")
    run("prepare", f"--source={videos}", f"--out={data}", f"--base={base}", *columns, *size)
    cut = ("--image_size=8", "--frames=2", "--fps=5", "--clips_per_video=all")
    run("prepare", f"--source={videos}", f"--out={tmp_path / 'cut'}", f"--base={base}", *columns, *cut)
    assert len(load_prepared(tmp_path / "cut")) + len(load_prepared(tmp_path / "cut", "test")) == 2 * COUNT
    config = tmp_path / "config.json"
    config.write_text(config_of(base, data).to_json_best_effort())
    for steps in (2, 3):
        run("train", f"--config={config}", f"--workdir={workdir}", f"--config.num_steps={steps}")
    run("sample", f"--workdir={workdir}", f"--out={out}", "--num=2")
    assert VIDEO.read(out / "00001.mp4").shape == (4, 8, 8, 3) and (out / "grid.png").is_file()
    run("sample", f"--workdir={workdir}", f"--out={tmp_path / 'frames'}", "--num=2", "--format=png")
    assert len(list((tmp_path / "frames" / "00000").iterdir())) == 4
    asked = f"--condition={out / '00000.mp4'},{videos / 'seg' / '00'}"
    run("sample", f"--workdir={workdir}", f"--out={tmp_path / 'asked'}", asked)
    with open_clip(tmp_path / "asked" / "00000.mp4", "") as clip:
        assert (clip.rate, clip.count) == (5, 4)
