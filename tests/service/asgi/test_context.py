import time

import pytest

from models.errors import BadParameter
from service.asgi.context import set_deadline


def test_a_client_may_shorten_the_limit_but_not_lengthen_it():
    assert 1 < set_deadline({}, 30.0, "1500") - time.monotonic() <= 1.5
    assert 29 < set_deadline({}, 30.0, "1e9") - time.monotonic() <= 30
    state = {}
    assert set_deadline(state, 30.0) == state["deadline"]


@pytest.mark.parametrize("header", ["", "soon", "0", "-1", "nan", "inf", "1 s"])
def test_a_header_that_is_no_time_is_refused(header):
    with pytest.raises(BadParameter, match="x-timeout-ms"):
        set_deadline({}, 30.0, header)
