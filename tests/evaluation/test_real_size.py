"""PSNR, LPIPS and mIoU at the real pictures' own size, against Pillow and plain numpy."""

import numpy as np
import pytest
from PIL import Image

from lisa_jax.evaluation.measures.lowres import psnr
from lisa_jax.evaluation.metric_networks import MetricNetworks
from lisa_jax.evaluation.real_size import as_large, measures_at_real_size


def random(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_a_sample_of_the_pictures_shape_is_enlarged_to_it():
    sample, picture = random(8, 16, 3), random(40, 80, 3)
    enlarged, target = as_large(sample, picture)
    np.testing.assert_array_equal(enlarged, Image.fromarray(sample).resize((80, 40), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(target, picture)


@pytest.mark.parametrize("size", [(64, 101), (101, 64), (64, 64)])
def test_a_square_sample_is_compared_with_the_centre_that_it_shows(size):
    columns, rows = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    picture = np.stack([rows, columns, rows], -1).astype(np.uint8)
    top, left = (size[0] - 64) / 2, (size[1] - 64) / 2
    # The exact centre, half a pixel to either side where the rest is odd, at a quarter of the size.
    box = (left, top, left + 64, top + 64)
    sample = np.asarray(Image.fromarray(picture).resize((16, 16), Image.Resampling.BOX, box=box))
    enlarged, target = as_large(sample, picture)
    assert enlarged.shape == target.shape and set(target.shape[:2]) <= {63, 64}
    inner = np.abs(enlarged.astype(int) - target)[8:-8, 8:-8]
    assert inner.max() <= 1


def test_a_picture_of_less_than_a_pixel_in_the_window_is_refused():
    with pytest.raises(ValueError, match="picture of 100x1 is too small"):
        as_large(random(32, 32, 3), random(1, 100, 3))


def test_measures_are_means_over_pictures_of_different_sizes():
    samples, pictures = random(2, 16, 16, 3), [random(32, 32, 3), random(48, 64, 3)]
    found = measures_at_real_size("lowres", {"samples": samples}, pictures.__getitem__, None)
    expected = [psnr(*(part[None] for part in as_large(*pair)))[0] for pair in zip(samples, pictures, strict=True)]
    assert found == {"samples": {"psnr": pytest.approx(np.mean(expected))}}


def test_classes_are_counted_over_all_pixels_of_all_pictures():
    samples = np.zeros((2, 16, 16, 3), np.uint8)
    pictures = [np.zeros((32, 32, 3), np.uint8), np.full((64, 64, 3), 7, np.uint8)]
    red = {"segmentation": lambda images: [image[..., 0] for image in images]}
    networks = MetricNetworks("segmentation", red, None, None, {})
    found = measures_at_real_size("segmentation", {"samples": samples}, pictures.__getitem__, networks)
    # Class 0: 32 x 32 pixels of all; class 7: none of its 64 x 64.
    assert found == {"samples": {"miou": pytest.approx((32**2 / (32**2 + 64**2) + 0) / 2)}}


def test_a_task_of_which_nothing_is_measured_so_is_refused():
    with pytest.raises(ValueError, match="Nothing of 'pose' is measured at the real pictures' size"):
        measures_at_real_size("pose", {"samples": random(1, 16, 16, 3)}, lambda index: random(32, 32, 3), None)
