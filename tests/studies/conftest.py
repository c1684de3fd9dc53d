"""Laboratories of the toy study."""

import pytest
from toys.study import study_config, toy_base

from lisa_jax.studies.laboratory import Laboratory


@pytest.fixture(scope="package")
def new_laboratory(tiny_data):
    """() -> a laboratory of toys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LISA_JAX_DATA", str(tiny_data))
        yield lambda: Laboratory(study_config(), toy_base)


@pytest.fixture(scope="package")
def laboratory(new_laboratory):
    """One that tests share."""
    return new_laboratory()
