"""Flags of a config's fields that are sizes: one number, or several with an x between them."""

import re
from typing import Any

from absl import flags
from ml_collections import config_flags

from lisa_jax.configs.base import SIZE

_SIZE = re.compile(r"\d{1,9}(x\d{1,9}){0,2}", re.ASCII)


class _SizeParser(flags.ArgumentParser):
    """`512`, `512x768` or, of videos, `8x512x768`; `(512, 768)`, as such a field is shown, means the same."""

    def parse(self, argument: Any) -> int | tuple[int, ...]:
        """The size of a flag; raises ValueError where it is none."""
        if not isinstance(argument, str):
            return argument
        written = re.sub(r"[\s()]", "", argument).replace(",", "x")
        if not _SIZE.fullmatch(written):
            raise ValueError("must be one number, HEIGHTxWIDTH or, of videos, FRAMESxHEIGHTxWIDTH.")
        sides = tuple(map(int, written.split("x")))
        return sides if len(sides) > 1 else sides[0]

    def flag_type(self) -> str:
        return "a size"


def take_sizes() -> None:
    """Let flags set fields of configs that are sizes."""
    config_flags.register_flag_parser_for_type(SIZE, _SizeParser())
