"""The whole service in this process: middleware, routes and a pipeline that serves a small network."""

import pytest
from starlette.testclient import TestClient

from service.application import create_web
from service.asgi.drain import Drain
from service.asgi.middleware import ServiceMiddleware
from service.inference.pipeline import Pipeline
from service.settings import Settings
from tests.support.networks import stored

SETTINGS = Settings(access_log=False, tune_seconds=0)


@pytest.fixture(scope="session")
def model():
    """The stored network, called ``network``."""
    return stored("cnn")


@pytest.fixture(scope="session")
def client(model):
    """Requests to it, all in one event loop."""
    app, drain = create_web(SETTINGS), Drain()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(model.path.parents[2]))
        app.state.pipeline, app.state.drain = Pipeline(SETTINGS), drain
        app.state.pipeline.start()
    with TestClient(ServiceMiddleware(app, settings=SETTINGS, drain=drain), raise_server_exceptions=False) as client:
        yield client
    app.state.pipeline.close()
