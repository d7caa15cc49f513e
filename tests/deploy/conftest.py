"""A real service on a store of its own, for the tests of what watches it."""

from collections.abc import Iterator

import pytest

from tests.support.networks import fill_store
from tests.support.servers import Live, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service with one small model, which batches and keeps answers."""
    folder = tmp_path_factory.mktemp("served")
    fill_store(folder / "bentoml")
    with serving(folder / "bentoml", CATSEYE_BATCH="4", CATSEYE_CACHE_MB="1") as running:
        yield running
