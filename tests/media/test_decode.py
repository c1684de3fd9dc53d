import io
import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lisa_jax.media.decode import decode_picture, read_labels, read_picture
from lisa_jax.media.open_picture import PictureError

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


@pytest.mark.parametrize("channels", [2, 4])
def test_opacity_is_a_channel_where_it_is_asked_for_and_colours_stay_as_they_are(channels):
    stored = noise(5, 7, channels)
    stored[:2, :, -1] = 0
    for data in (encode(Image.fromarray(stored)), encode(Image.fromarray(stored), "TIFF"), stored):
        np.testing.assert_array_equal(decode_picture(data, WHERE, channels), stored)
    with pytest.raises(PictureError, match=f"^{WHERE}: {channels} channels are .* but this picture has no opacity: st"):
        decode_picture(encode(Image.fromarray(noise(5, 7, 3))), WHERE, channels)
    with pytest.raises(PictureError, match="has no opacity"):
        decode_picture(noise(5, 7, 3), WHERE, channels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_grey_value_of_16_bits_that_means_transparent_is_refused(channels):
    data = encode(Image.fromarray(np.full((4, 4), 30_000, np.uint16)), transparency=30_000)
    with pytest.raises(PictureError, match=f"^{WHERE}: one grey value of 16 bits stands for what is transparent"):
        decode_picture(data, WHERE, channels)


def test_one_channel_is_grey_as_it_is_stored_or_that_of_colours():
    grey, deep = noise(5, 7), noise(5, 7, dtype=np.uint16)
    for data in (encode(Image.fromarray(grey)), grey):
        np.testing.assert_array_equal(decode_picture(data, WHERE, 1), grey[..., None])
    np.testing.assert_array_equal(decode_picture(encode(Image.fromarray(deep)), WHERE, 1), decoded(deep)[..., :1])
    assert decode_picture(encode(Image.new("RGB", (1, 1), (255, 0, 0))), WHERE, 1).tolist() == [[[76]]]


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
        (b"<html>not found</html>", "no picture of a known format .*, but HTML, SVG or other markup; the content"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "but a Git LFS pointer .*`git lfs pull`"),
        (b"\0\0\0\x18ftypheic", "but HEIC, which has to be converted"),
        (b"", "no picture of a known format"),
        (encode(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"), "32 bit"),
        (np.zeros((2, 2, 3), np.float32), "uint8 or uint16"),
        (np.zeros((2, 2, 2), np.uint8), "3 or 4 channels"),
        ("a.png", "not str"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_place(data, message):
    with pytest.raises(PictureError, match=rf"^{WHERE}: .*{message}"):
        decode_picture(data, WHERE)


def png(width, height, depth, colour, rows):
    """A PNG by hand, for what Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 50_000])
def test_decompression_bombs_are_refused(side):
    with pytest.raises(PictureError, match=rf"^{WHERE}: .*more than 89478485.* refused"):
        decode_picture(png(side, side, 1, 0, bytes(1000)), WHERE)


def test_pictures_of_too_many_bytes_are_refused(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**40)
    for data in (bytes(2**27 + 1), tmp_path / "a.png"):
        with pytest.raises(PictureError, match=rf"^{WHERE}: .*but more than 134,217,728 are refused"):
            decode_picture(data, WHERE)


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
        encode(Image.new("RGB", (4, 4)), "PDF"),
        encode(Image.new("RGB", (4, 4)), "TGA"),
        encode(Image.new("RGB", (32, 32)), "ICO"),
    ],
)
def test_formats_that_pictures_do_not_come_in_are_not_even_tried(data, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_: pytest.fail("a program was started"))
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, tmp_path / "a.png"):
        with pytest.raises(
            PictureError, match=rf"^{WHERE}: .* no picture of a known format \(JPEG, PNG, .*not the name"
        ):
            decode_picture(source, WHERE)


def test_a_file_is_read_as_its_bytes_are(tmp_path):
    image = noise(5, 7, 3)
    path = tmp_path / "a[1]*.png"
    path.write_bytes(encode(Image.fromarray(image)))
    np.testing.assert_array_equal(decoded(path), image)
    np.testing.assert_array_equal(read_labels(png_file(tmp_path, image[:, :, 0]), WHERE).pixels, image[:, :, 0])


def png_file(folder, labels):
    Image.fromarray(labels).save(folder / "labels.png")
    return folder / "labels.png"


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, kind in [
        (tmp_path / "pipe.png", "is a named pipe"),
        (tmp_path, "is a folder"),
        (Path("/dev/zero"), "is a device"),
        (tmp_path / "none.png", "cannot be read .No such file"),
        (Path("a\0.png"), "cannot be read .*null (byte|character)"),
    ]:
        with pytest.raises(PictureError, match=rf"^{WHERE}: .*{kind}"):
            decode_picture(path, WHERE)


def test_grey_values_of_other_widths_than_eight_bits_keep_black_and_white():
    halves = np.array([[0, 0x8000, 0xFFFF]], np.uint16)
    graymap = b"P5 3 1 65535\n" + halves.astype(">u2").tobytes()
    assert decoded(graymap)[0, :, 0].tolist() == [0, 128, 255]
    assert decoded(b"P2 3 1 1000\n0 500 1000\n")[0, :, 0].tolist() == [0, 128, 255]
    inverted = encode(Image.fromarray(halves), "TIFF", tiffinfo={262: 0})
    assert decoded(inverted)[0, :, 0].tolist() == [255, 127, 0]
    # Twelve bits a value, which Pillow reads and does not write: the tag that says how many is 258.
    twelve = encode(Image.fromarray(np.zeros((1, 4), np.uint16)), "TIFF")
    tag = struct.pack("<HHII", 258, 3, 1, 16)
    assert tag in twelve and twelve.endswith(bytes(8))
    twelve = twelve.replace(tag, struct.pack("<HHII", 258, 3, 1, 12))[:-8] + bytes.fromhex("000800fff000") + bytes(2)
    assert decoded(twelve)[0, :, 0].tolist() == [0, 128, 255, 0]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts_and_it_is_told(kind):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    read = read_picture(encode(first, kind, save_all=True, append_images=[second], lossless=True), WHERE)
    assert read.frames and read.pixels[0, 0].tolist() == [255, 0, 0]
    assert not read_picture(encode(first, kind), WHERE).frames


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_that_a_picture_was_turned_is_told(kind):
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        read = read_picture(encode(Image.new("RGB", (8, 4)), kind, exif=exif), WHERE)
        assert read.orientation == orientation and read.stored_size() == (4, 8)
        assert read.pixels.shape == ((8, 4, 3) if orientation > 4 else (4, 8, 3))


def test_labels_of_few_bits_are_as_they_were_stored():
    assert read_labels(png(4, 1, 4, 0, b"\0\x01\x2f"), WHERE).pixels.tolist() == [[0, 1, 2, 15]]
    assert read_labels(png(4, 1, 2, 0, b"\0\x1b"), WHERE).pixels.tolist() == [[0, 1, 2, 3]]
    assert read_labels(b"P5 3 1 20\n\0\x07\x14", WHERE).pixels.tolist() == [[0, 7, 20]]
    assert read_labels(b"P2 3 1 1000\n0 500 1000\n", WHERE).pixels.tolist() == [[0, 500, 1000]]
    with pytest.raises(PictureError, match=rf"^{WHERE}: .*white as 0, which inverts labels"):
        read_labels(encode(Image.fromarray(noise(2, 2)), "TIFF", tiffinfo={262: 0}), WHERE)


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
        found = read_labels(data, WHERE).pixels
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
    with pytest.raises(PictureError, match=rf"^{WHERE}: .*{message}"):
        read_labels(data, WHERE)
