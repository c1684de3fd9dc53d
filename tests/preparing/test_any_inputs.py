"""Nothing about what is stored is Stable Diffusion's: a context tree and moments of conditions, there and back."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tensorflow_datasets as tfds

from lisa_jax.data.pipeline import Batches
from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.preparing.encoding import Encoding
from lisa_jax.preparing.prepare import prepare

COUNT = 27


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def task(toy):
    """Of a family whose context has three leaves; wide pictures lose a third of their width."""
    encoding = Encoding(toy.LATENTS, toy.HALVED, toy.CONDITIONER_OF_THREE, "abc", batch_size=4)
    return toy.task(encoding=encoding, sizes=((16, 16), (8, 16)))


@pytest.fixture(scope="module")
def folder(toy, task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "set"
    prepare(toy.Table(COUNT), task, folder, workers=2)
    return folder


@pytest.fixture(scope="module")
def expected(toy, task):
    """The inputs of every row, by the bytes of their moments."""

    def stored(moments, picture):
        return np.asarray(moments(toy.PARAMS, jnp.asarray(picture[None])).astype(jnp.bfloat16))[0]

    def inputs(row):
        image = task.make_image(row)
        length, last, rounded = len(row.caption), ord(row.caption[-1]), ml_dtypes.bfloat16
        token = np.asarray([length, last, 0, 0], np.float32) + np.float32(1 / 3)
        size, crop = image.image.shape[:2], (0, 0) if image.size_index == 0 else (0, 4)
        return {
            "moments": stored(toy.box_means, image.image),
            "condition_moments": {
                name: stored(toy.HALVED.moments, image.conditions[name]) for name in image.conditions
            },
            "context": {
                "tokens": np.stack([token, token]).astype(rounded),
                "pooled": token.astype(rounded),
                "time_ids": np.asarray([*image.original_size, *crop, *size], np.int32),
            },
        }

    table = toy.Table(COUNT)
    of_rows = [inputs(table[index]) for index in range(COUNT)]
    return {found["moments"].tobytes(): found for found in of_rows}


def test_every_leaf_comes_back_as_it_was_encoded(folder, expected):
    sources = [load_prepared(folder, split) for split in ("train", "test")]
    found = {example["inputs"]["moments"].tobytes(): example["inputs"] for example in itertools.chain(*sources)}
    assert found.keys() == expected.keys() and len(found) == COUNT
    for key, inputs in found.items():
        assert_same(inputs, expected[key])
    assert sources[0].channels == {"pose": 3, "negative": 3} and sources[0].cached == ("moments", "context")


def test_a_batch_holds_the_same_tree(folder, expected):
    batches = Batches(load_prepared(folder), lambda example: example["inputs"], 4, seed=0)
    for batch in itertools.islice(batches.iterate(), 6):
        for row in range(4):
            inputs = jax.tree.map(lambda rows, row=row: rows[row], batch["inputs"])
            assert_same(inputs, expected[inputs["moments"].tobytes()])


def test_the_empty_captions_context_is_kept_in_float32(toy, folder):
    assert_same(load_prepared(folder).empty_context, toy.CONDITIONER_OF_THREE.empty)


def test_tfds_reads_every_leaf_under_its_path(folder):
    theirs = tfds.builder_from_directory(folder).as_data_source("train")
    for mine, other in zip(load_prepared(folder), theirs, strict=True):
        context = mine["inputs"]["context"]
        np.testing.assert_array_equal(other["context.time_ids"], context["time_ids"])
        np.testing.assert_array_equal(other["context.tokens"].view(ml_dtypes.bfloat16), context["tokens"])
        pose = other["condition_moments.pose"].view(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(pose, mine["inputs"]["condition_moments"]["pose"])


def test_conditions_stay_pictures_where_no_moments_are_cached(toy, task, tmp_path):
    pictures = replace(task, encoding=replace(task.encoding, latents=None))
    prepare(toy.Table(5), pictures, tmp_path / "set", workers=1)
    assert load_prepared(tmp_path / "set")[0]["inputs"].keys() == {"image", "condition", "context"}


def test_a_context_without_names_is_refused(toy, task, tmp_path):
    conditioner = replace(toy.CONDITIONER_OF_THREE, shapes=(jax.ShapeDtypeStruct((4,), jnp.float32),))
    unnamed = replace(task, encoding=replace(task.encoding, conditioner=conditioner))
    with pytest.raises(ValueError, match=r"^context is a tuple: what is stored must be an array, or a dict of such\.$"):
        prepare(toy.Table(5), unnamed, tmp_path / "set", workers=1)
