import pytest
from toys import small_study


@pytest.fixture(scope="session")
def small():
    """Made-up folders."""
    return small_study


@pytest.fixture(scope="module")
def folders(small, tmp_path_factory):
    """A study with everything and two training runs."""
    return small.write_all(tmp_path_factory.mktemp("folders"))
