"""Pictures of all modes and kinds, and what is none: what stands in a picture's place."""

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image

from fuzz.case import Right

SIZE = 16


def picture(index: int) -> Image.Image:
    """A picture that its number tells."""
    pixels = np.random.default_rng(index).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    return Image.fromarray(pixels)


def encoded(index: int, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    picture(index).save(file, kind, **options)
    return file.getvalue()


def odd(rng: random.Random) -> tuple[str, bytes, Right]:
    """What stands in a picture's place: how it is, its bytes, and what is right."""
    whole = encoded(0)
    # Cut and flipped anew each time.
    cut, flipped = whole[: rng.randrange(1, len(whole) - 20)], _flipped(rng, whole)
    turned = encoded(0, "JPEG", exif=_exif(rng.randrange(1, 9)))
    none = {
        "cut short": cut,
        "empty": b"",
        "HTML": b"<html>404</html>",
        "a cut JPEG": encoded(0, "JPEG")[:200],
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"/>',
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n",
        "a bomb of 50,000 x 50,000": bomb(50_000, 50_000),
        "a bomb of 2^31 x 1": bomb(2**31 - 1, 1),
        "a bomb of 12,000 x 12,000": bomb(12_000, 12_000),
        "0 x 0": bomb(0, 0),
        "a BMP that says it is 60,000 x 60,000": _claiming(encoded(0, "BMP"), 18, struct.pack("<ii", 60_000, 60_000)),
        "a GIF of 65,535 x 65,535": _claiming(encoded(0, "GIF"), 6, b"\xff" * 4),
        "a JPEG of 65,500 x 65,500": _large_jpeg(),
        "a TGA": encoded(0, "TGA"),
        "a PCX": encoded(0, "PCX"),
        "an ICO that is cut": encoded(0, "ICO")[:60],
        "a PDF": b"%PDF-1.4\n%EOF\n",
    }
    some = {
        "a text chunk of 300 MB": text_bomb(300),
        "a flipped bit": flipped,
        "16 bits": _saved(Image.fromarray(_grey().astype(np.uint16) * 257)),
        "a float TIFF": _saved(Image.fromarray(_grey().astype(np.float32) / 255), "TIFF"),
        "a palette with transparency": _saved(picture(0).convert("P"), transparency=0),
        "CMYK": _saved(picture(0).convert("CMYK"), "JPEG"),
        "1 bit": _saved(picture(0).convert("1")),
        "grey with alpha": _saved(picture(0).convert("LA")),
        "an animated GIF": _saved(picture(0).convert("P"), "GIF", save_all=True, append_images=[picture(1)]),
        "a WebP": encoded(0, "WEBP"),
        "a BMP": encoded(0, "BMP"),
        "a PPM": encoded(0, "PPM"),
        "a TIFF": encoded(0, "TIFF"),
        "a TIFF of NaN": _saved(Image.fromarray(np.full((SIZE, SIZE), np.nan, np.float32)), "TIFF"),
        "32 bits": _saved(Image.fromarray(_grey().astype(np.int32) * 65_536), "TIFF"),
        "an animated PNG": _saved(picture(0), save_all=True, append_images=[picture(1)]),
        "a wide one": _saved(picture(0).resize((4000, 2))),
        "1 x 1": _saved(picture(0).resize((1, 1))),
        "an EXIF orientation": turned,
        "an EXIF orientation of 77": encoded(0, "JPEG", exif=_exif(77)),
    }
    how = rng.choice([*none, *some])
    return how, (none | some)[how], Right.REFUSED if how in none else Right.ANY


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is large, of one bit a pixel, with next to nothing in it."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    body = zlib.compress(bytes(min(height * (width // 8 + 2), 20_000_000)))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def text_bomb(megabytes: int) -> bytes:
    """A PNG with a compressed comment that is large."""
    whole, end = encoded(0), 33
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(megabytes * 10**6)))
    # Behind the header.
    return whole[:end] + text + whole[end:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _claiming(whole: bytes, place: int, claim: bytes) -> bytes:
    return whole[:place] + claim + whole[place + len(claim) :]


def _large_jpeg() -> bytes:
    whole = encoded(0, "JPEG")
    # Height and width in the frame's header.
    return _claiming(whole, whole.index(b"\xff\xc0") + 5, struct.pack(">HH", 65_500, 65_500))


def _flipped(rng: random.Random, content: bytes) -> bytes:
    bit, changed = rng.randrange(8 * len(content)), bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _grey() -> np.ndarray:
    return np.asarray(picture(0).convert("L"))


def _saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()
