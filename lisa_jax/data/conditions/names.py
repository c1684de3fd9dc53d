"""Names of conditions; imports nothing of ours."""

import re


def name_of(condition: str) -> str:
    """The name that a condition and its side network go by: its own, or the function's of module:function.

    Raises:
      ValueError: it is no identifier, as files and fields that are called so must be.
    """
    return checked_name(condition.rpartition(":")[2])


def is_condition(text: str) -> bool:
    """Whether a text is a name, or of the form `module:function`, as in my_package.my_module:function."""
    module, colon, name = text.rpartition(":")
    return name.isidentifier() and (not colon or all(part.isidentifier() for part in module.split(".")))


def checked_name(name: str) -> str:
    """The name of a condition or side network itself; raises ValueError where it is no identifier."""
    if not name.isidentifier():
        raise ValueError(f"Condition {name!r} is no name: use letters, digits and _, as in pose_2.")
    return name


def identifier_of(name: str) -> str:
    """The identifier nearest to a folder's name: `sd-controlnet-canny` goes by sd_controlnet_canny."""
    word = re.sub(r"\W", "_", name)
    return word if word.isidentifier() else f"_{word}"
