"""How others use an exported side network; its model card says it."""

import dataclasses
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a family knows of the world that its side networks are exported to.

    Attributes:
      kind: what such a network is called: "ControlNet".
      tags: under which a hub lists it.
      template: Jinja template of the card's section "Use it", which sees what `exporting/templates` sees; None: only
        lisa_jax reads such networks.
      pipeline: diffusers' class that draws with such a network, where the template asks for one.
      note: what else there is to say of that, at the end of the section.
      module: PyTorch file that is exported beside the network, which diffusers has no class for.
    """

    kind: str
    tags: tuple[str, ...]
    template: Path | None = None
    pipeline: str = ""
    note: str = ""
    module: Path | None = None
