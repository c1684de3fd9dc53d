"""The packages that only rendering OpenMoji needs, those of the extra `openmoji`: imported where they are used."""

import importlib
from types import ModuleType


def package(name: str) -> ModuleType:
    """One of the packages; raises ImportError with the way to install it where it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(f"OpenMoji's drawings need the package {name}: pip install 'lisa_jax[openmoji]'.") from error
