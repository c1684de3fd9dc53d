"""What bytes are that are not what was asked for, as far as their first ones tell."""

_LFS = b"version https://git-lfs"
_BEGINNINGS = {
    _LFS: "a Git LFS pointer in place of the file, which `git lfs pull` fetches",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"8BPS": "a Photoshop file",
    b"\x93NUMPY": "a NumPy array",
    b"<": "HTML, SVG or other markup",
    b"\x1aE\xdf\xa3": "a WebM or Matroska video",
}
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def foreign_kind(data: bytes) -> str | None:
    """What the bytes seem to be, or None."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIC, which has to be converted to JPEG or PNG"
    if data[4:8] == b"ftyp" and data[8:12] not in _AVIF_BRANDS:
        return "an MP4 or MOV video"
    beginning = data[:64].lstrip()
    return next((kind for start, kind in _BEGINNINGS.items() if beginning.startswith(start)), None)
