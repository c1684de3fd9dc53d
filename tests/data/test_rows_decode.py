import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from lisa_jax.data.rows import RowError, decode_labels, decode_picture

WHERE = "shard.tar row 7"


def encode(picture, format="PNG", **options):
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def decoded(data):
    picture = decode_picture(data, WHERE)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    return picture


def test_rgb_is_exact():
    image = noise(5, 7, 3)
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(image))), image)
    np.testing.assert_array_equal(decoded(image), image)


def test_exif_orientation_is_applied():
    image = noise(8, 16, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to show"
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(image), exif=exif)), np.rot90(image, -1))


def test_transparency_is_laid_on_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = [0, 128, 255]
    expected = np.array([[[255, 255, 255], [227, 127, 127], [200, 0, 0]]])
    for data in (encode(Image.fromarray(rgba)), rgba):
        np.testing.assert_allclose(decoded(data), expected, atol=1)
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([9, 9, 9, 255, 0, 0])
    palette.putpixel((0, 0), 0)
    np.testing.assert_array_equal(decoded(encode(palette, transparency=0)), [[[255, 255, 255], [255, 0, 0]]])


def test_palettes_grey_black_and_white_and_sixteen_bits():
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert decoded(encode(palette)).tolist() == [[[10, 20, 30]]]
    assert decoded(encode(Image.new("L", (1, 1), 77))).tolist() == [[[77] * 3]]
    assert decoded(encode(Image.new("1", (1, 1), 1))).tolist() == [[[255] * 3]]
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    for data in (encode(Image.fromarray(deep)), deep, deep[:, :, None]):
        assert decoded(data)[0, :, 1].tolist() == [0, 1, 128, 255]


def test_cmyk_jpeg_keeps_its_colour():
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    np.testing.assert_allclose(decoded(encode(cmyk, "JPEG", quality=100))[8, 8], [255, 0, 0], atol=4)


def test_colour_profiles_change_nothing():
    image = noise(4, 4, 3)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(image), icc_profile=profile)), image)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encode(Image.fromarray(noise(64, 64, 3)), "JPEG")[:-400], "damaged"),
        (encode(Image.fromarray(noise(64, 64, 3)))[:-4000], "damaged"),
        (b"<html>not found</html>", "no picture of a known format"),
        (b"", "no picture of a known format"),
        (encode(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"), "32 bit"),
        (np.zeros((2, 2, 3), np.float32), "uint8 or uint16"),
        (np.zeros((2, 2, 2), np.uint8), "3 or 4 channels"),
        ("a.png", "not str"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_place(data, message):
    with pytest.raises(RowError, match=rf"^{WHERE}: .*{message}"):
        decode_picture(data, WHERE)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 50_000])
def test_decompression_bombs_are_refused(side):
    header = bytearray(encode(Image.new("1", (8, 8))))
    header[16:24] = side.to_bytes(4, "big") * 2
    import zlib

    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    with pytest.raises(RowError, match=rf"^{WHERE}: .*(more than 89478485|decompression bomb)"):
        decode_picture(bytes(header), WHERE)


def test_labels_are_indices_not_colours():
    labels = noise(6, 5)
    painted = Image.fromarray(labels).convert("P")
    painted.putpalette(noise(768).tolist())
    painted.putdata(labels.reshape(-1).tolist())
    deep = labels.astype(np.uint16) * 200
    for data, expected in [
        (encode(painted), labels),
        (encode(Image.fromarray(labels)), labels),
        (encode(Image.fromarray(deep)), deep),
        (encode(Image.fromarray(deep.astype(np.int32)), "TIFF"), deep),
        (deep.astype(np.int64)[:, :, None], deep),
    ]:
        found = decode_labels(data, WHERE)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encode(Image.new("RGB", (2, 2))), "painted in colours already"),
        (encode(Image.new("L", (2, 2)), "JPEG"), "must not be stored as JPEG"),
        (np.zeros((2, 2), np.float32), "must be integers"),
        (b"x", "no picture"),
    ],
)
def test_what_is_no_label_map_is_refused(data, message):
    with pytest.raises(RowError, match=rf"^{WHERE}: .*{message}"):
        decode_labels(data, WHERE)
