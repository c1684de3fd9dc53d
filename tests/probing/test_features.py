"""What is taken of features and targets: sizes, pixels, noise levels, and splits that do not mix."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import image
from toys.image import SIZE, side_params
from toys.pictures import pictures, pictures_of_all_parts

from lisa_jax.probing.features import (
    PIXELS,
    area_average,
    make_features,
    make_targets,
    named_features,
    sample_pixels,
    time_at,
)
from lisa_jax.probing.pictures import probe_pictures
from lisa_jax.processes import EDM, Diffusion, RectifiedFlow

FROZEN = {name: jnp.float32(value) for name, value in image.LINEAR.items()}


def model(*conditions):
    return image.family(conditions).model


def test_area_average_by_hand():
    picture = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(area_average(picture, (2, 2))[0, ..., 0], [[2.5, 4.5], [10.5, 12.5]])
    # Three cells over four rows: the first is one row and a third of the next.
    rows = jnp.array([0.0, 3.0, 6.0, 9.0]).reshape(1, 4, 1, 1)
    np.testing.assert_allclose(area_average(rows, (3, 1)).ravel(), [0.75, 4.5, 8.25], rtol=1e-6)
    np.testing.assert_allclose(area_average(picture, (4, 4)), picture)


def test_sampled_pixels_are_different_ones_of_each_picture_and_the_same_in_every_map():
    maps = jnp.tile(jnp.arange(100.0).reshape(1, 10, 10, 1), (3, 1, 1, 2))
    taken = jax.jit(sample_pixels)(maps, jnp.array([5, 6, 5]))
    assert taken.shape == (3, PIXELS, 2)
    assert all(len(np.unique(one)) == PIXELS for one in taken[..., 0])
    np.testing.assert_array_equal(taken[0], taken[2])
    assert not np.array_equal(taken[0], taken[1])
    small = jax.jit(sample_pixels)(maps[:, :2, :2], jnp.array([5, 6, 5]))
    np.testing.assert_array_equal(np.sort(small[0, :, 0]), [0, 1, 10, 11])


@pytest.mark.parametrize("process", [Diffusion(), RectifiedFlow(), EDM()], ids=lambda p: type(p).__name__)
def test_time_at_is_the_quantile_of_training(process):
    for quantile in (0.1, 0.9):
        found = jax.jit(lambda q=quantile: process.quantile(time_at(process, q)[None]))()
        assert float(found[0]) == pytest.approx(quantile, abs=0.005)


def test_features_and_targets_are_of_the_same_pixels_noise_and_pictures():
    batch = pictures("train", 70, 0)  # more than one compiled batch
    process, t = RectifiedFlow(), jnp.float32(0.25)
    params = (FROZEN, {"edges": side_params(condition=2.0)})
    found = make_features(model("edges"), process)(params, batch, t, 1)
    targets = make_targets(model("edges"), process)(FROZEN, batch, t, 1, sizes=((SIZE, SIZE), (4, 4)))
    (pixels, means), full = found["down_0"], targets[SIZE, SIZE]
    assert pixels.shape == (70, 64, 7) and means.shape == (70, 7) and full["gap"].shape == (70, 64, 3)

    np.testing.assert_allclose(pixels[..., :3], 2 * full["condition"], atol=1e-6)
    # x_t = (1 - t) x0 + t noise, the target is noise - x0, and the main network says half of x_t.
    x_t, clean = pixels[..., 3:6], full["clean"]
    np.testing.assert_allclose(full["gap"], (x_t - 0.75 * clean) / 0.25 - clean - 0.5 * x_t, atol=1e-4)
    np.testing.assert_allclose(means[:, 6], 0.25, atol=1e-6)

    half = targets[4, 4]
    assert found["mid"][0].shape == (70, 16, 3) and half["condition"].shape == (70, 16, 3)
    noise = np.asarray(batch.noise(1)).reshape(70, 4, 2, 4, 2, 3).mean(axis=(2, 4))
    left = found["mid"][0][0, :, 0] - 0.75 * half["clean"][0, :, 0]
    np.testing.assert_allclose(np.sort(left), np.sort(0.25 * noise[0, ..., 0].ravel()), atol=1e-5)


def test_an_example_has_its_own_noise_at_every_level_and_none_of_it_is_shared_by_the_splits():
    train, test = pictures("train", 4, 0), pictures("test", 4, 0)
    noises = [np.asarray(one.noise(level))[2].tobytes() for one in (train, test) for level in range(5)]
    assert len(set(noises)) == 10
    alone = train.rows(np.array([2]))
    np.testing.assert_array_equal(alone.noise(3)[0], train.noise(3)[2])


def test_features_of_several_side_networks_are_named_by_hook_and_side_network():
    array = jnp.zeros((1, 1, 1, 1))
    assert list(named_features({"mid": {"lineart": array, "lowres": array}})) == ["mid/lineart", "mid/lowres"]
    assert list(named_features({"mid": {"lineart": array}, "down_0": {"lineart": array}})) == ["mid", "down_0"]


def test_several_conditions_are_targets_of_their_own():
    batch = pictures("train", 3, 0, ("a",))
    batch = dataclasses.replace(batch, condition={**batch.condition, "b": 1 - batch.condition["a"]})
    targets = make_targets(model("a", "b"), RectifiedFlow())(FROZEN, batch, jnp.float32(0.5), 0, sizes=((4, 4),))
    assert set(targets[4, 4]) == {"condition/a", "condition/b", "clean", "gap"}
    np.testing.assert_allclose(targets[4, 4]["condition/a"], 1 - targets[4, 4]["condition/b"], atol=1e-6)


def test_pictures_of_the_test_split_never_get_into_a_fit():
    good = pictures_of_all_parts()
    assert good.counts() == {"fit": 48, "validation": 16, "test": 16}
    assert not set(good.fit.index) & set(good.validation.index)
    for changed, sentence in (
        ({"fit": good.test}, "fit are of the train split, but these are of test"),
        ({"validation": good.test}, "validation are of the train split"),
        ({"test": good.fit}, "test are of the test split, but these are of train"),
        ({"validation": good.fit}, "A picture of the train split is there twice"),
        ({"test": good.test.rows(np.array([1, 1]))}, "A picture of the test split is there twice"),
        ({"test": good.test.rows(slice(1))}, "at least 2 pictures for test, but there are 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            dataclasses.replace(good, **changed)
    with pytest.raises(ValueError, match="at least 2 pictures for validation"):
        probe_pictures(pictures("train", 5, 0), pictures("test", 5, 0))
