"""What a base says of its licence, for the cards of what is made from it."""

import dataclasses
from pathlib import Path

from lisa_jax.files.front_matter import front_matter

CARD, NOTICE = "README.md", "NOTICE"
_FILES = ("LICENSE*", "LICENCE*", "NOTICE*")
# A notice is a page; more would be something else.
_MOST = 20_000


@dataclasses.dataclass(frozen=True)
class BaseTerms:
    """None for what the base does not say.

    Attributes:
      license: a hub's name of a licence, "other" for one that has a name of its own.
      license_name, license_link: of such a licence.
      notice: what its file NOTICE says.
      files: names of its files of licences and notices.
    """

    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    notice: str | None = None
    files: tuple[str, ...] = ()


def base_terms(folder: str | Path) -> BaseTerms:
    """The terms of a base, by the front matter of its README.md and its NOTICE; no terms where there is no folder."""
    folder = Path(folder)
    fields = front_matter(folder / CARD)
    said = {name: fields.get(name) for name in ("license", "license_name", "license_link")}
    notice = folder / NOTICE
    text = notice.read_text(encoding="utf-8", errors="replace")[:_MOST].strip() if notice.is_file() else None
    files = sorted(path.name for pattern in _FILES for path in folder.glob(pattern) if path.is_file())
    said = {name: value if isinstance(value, str) else None for name, value in said.items()}
    return BaseTerms(**said, notice=text, files=tuple(files))
