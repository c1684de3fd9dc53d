import numpy as np
import pytest

from lisa_jax.data.geometry import fit
from lisa_jax.data.rows import RowError


def ramps(height, width):
    """Red tells the height, green the width of each pixel's centre, from 0 to 255: a picture of its own coordinates."""
    rows = (np.arange(height) + 0.5) / height * 255
    columns = (np.arange(width) + 0.5) / width * 255
    picture = np.stack(np.broadcast_arrays(rows[:, None], columns, 0.0), axis=-1)
    return np.round(picture).astype(np.uint8)


def test_the_right_size_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    fitted = fit(image, {"pose": image[::-1], "labels": image[:, :, 0]}, (16, 24), where="x")
    np.testing.assert_array_equal(fitted.image, image)
    np.testing.assert_array_equal(fitted.conditions["pose"], image[::-1])
    np.testing.assert_array_equal(fitted.conditions["labels"], image[:, :, 0])


def test_the_centre_is_kept_and_nothing_is_stretched():
    image, _, crop = fit(ramps(100, 300), {}, (50, 50), where="x")
    assert image.shape == (50, 50, 3)
    # Resized to 50 x 150.
    assert crop == (0, 50)
    red, green = image[:, 0, 0].astype(float), image[0, :, 1].astype(float)
    # All of the height, the middle third of the width.
    np.testing.assert_allclose([red[0], red[-1]], [2.5, 252.5], atol=1.5)
    np.testing.assert_allclose([green[0], green[-1]], [85.9, 169.1], atol=1.5)


@pytest.mark.parametrize("shape", [(100, 301), (320, 90), (64, 64), (1000, 700)])
def test_image_and_conditions_of_any_resolution_show_the_same_window(shape):
    conditions = {"large": ramps(2 * shape[0], 2 * shape[1]), "small": ramps(*(round(side / 3) for side in shape))}
    conditions["nearest"] = conditions["large"]
    conditions["labels"] = conditions["large"][:, :, 1].astype(np.int32)
    fitted = fit(ramps(*shape), conditions, (64, 48), where="x", labels=["nearest"])
    for name in ("large", "small", "nearest"):
        difference = fitted.conditions[name].astype(int) - fitted.image
        # One pixel of the coarsest picture in units of the ramp.
        tolerance = 255 / round(min(shape) / 3) if name == "small" else 255 / min(shape)
        assert np.abs(difference).max() <= 1 + tolerance, name
        assert np.abs(difference[8:-8, 8:-8].mean()) < 1, name
    assert fitted.conditions["labels"].dtype == np.int32
    np.testing.assert_array_equal(fitted.conditions["labels"], fitted.conditions["nearest"][:, :, 1])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_every_channel_is_cut_by_itself_as_that_of_a_picture_in_colours(channels):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 4), np.uint8)
    picture[:, :30, 3] = 0
    conditions = {"asked": picture[..., :channels], "nearest": picture[..., :channels]}
    fitted = fit(picture[..., :3], conditions, (16, 16), where="x", labels=["nearest"])
    assert fitted.conditions["asked"].shape == fitted.conditions["nearest"].shape == (16, 16, channels)
    for channel in range(channels):
        alone = fit(np.repeat(picture[..., channel, None], 3, -1), {}, (16, 16), where="x").image
        np.testing.assert_array_equal(fitted.conditions["asked"][..., channel], alone[..., 0])


def test_labels_keep_their_values_and_pictures_are_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    fitted = fit(stripes, {"seg": stripes}, (16, 16), where="x", labels={"seg"})
    assert set(np.unique(fitted.conditions["seg"])) <= {0, 255}
    assert np.abs(fitted.image[:, 2:-2].astype(int) - 127).max() <= 2


def test_small_images_are_refused_or_enlarged_as_told():
    with pytest.raises(RowError, match=r"^a.jpg: the image is 30x40, too small for 32x32: --min_size=30 allows"):
        fit(ramps(40, 30), {}, (32, 32), where="a.jpg")
    assert fit(ramps(40, 30), {}, (32, 32), where="a.jpg", min_size=30).image.shape == (32, 32, 3)
    with pytest.raises(RowError, match=r"shorter side must be at least 31 pixels \(--min_size\)"):
        fit(ramps(40, 30), {}, (32, 32), where="a.jpg", min_size=31)


def test_size_mismatch_names_both_sizes():
    with pytest.raises(
        RowError, match=r"^a row 3: size mismatch: condition 'pose' is 100x100, but the image is 120x100"
    ):
        fit(ramps(100, 120), {"pose": ramps(100, 100)}, (64, 64), where="a row 3")
    with pytest.raises(RowError, match="but the condition 'depth' is 120x100, which is another aspect ratio; turned"):
        pictures = {"pose": ramps(100, 100)}
        fit(ramps(100, 120), pictures, (64, 64), where="x", subject="condition 'depth'", hints={"pose": "; turned"})
    # 500 x 333 shrunk to 64 x 43: the rounding is no mismatch, on either side.
    fit(ramps(333, 500), {"pose": ramps(43, 64)}, (32, 32), where="x")
    fit(ramps(43, 64), {"pose": ramps(333, 500)}, (32, 32), where="x")


def test_a_stretched_condition_shows_the_same_window_as_its_image():
    image = ramps(480, 640)
    # What annotators make of 640 x 480 that round sides to multiples of 64 after bringing the shorter one to 512.
    fitted = fit(image, {"pose": ramps(512, 576)}, (64, 64), where="x", stretched=["pose"])
    difference = fitted.conditions["pose"].astype(int) - fitted.image
    assert np.abs(difference).max() <= 2
