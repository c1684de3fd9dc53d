"""Rows and encoders to prepare data sets from."""

import pytest
from toys import preparing


@pytest.fixture(scope="session")
def toy():
    """Where they are made."""
    return preparing
