from types import SimpleNamespace

import pytest

from service.inference.pipeline import Pipeline
from service.ports import Gateway, gateway_of


def test_the_application_s_gateway_is_found():
    gateway = object()
    request = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(gateway=gateway)))
    assert gateway_of(request) is gateway


@pytest.mark.parametrize("name", [name for name in vars(Gateway) if not name.startswith("_")])
def test_the_pipeline_offers_what_the_routes_ask_for(name):
    assert callable(getattr(Pipeline, name))
