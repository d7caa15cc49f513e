import asyncio
import time

import pytest

from models.errors import BadParameter
from service.asgi import deadline


def in_a_request(*calls):
    async def scenario():
        return [deadline.begin(*call) - time.monotonic() for call in calls]

    return asyncio.run(scenario())


def test_a_client_may_shorten_the_limit_but_not_lengthen_it():
    (left,) = in_a_request((30.0, "1500"))
    assert 1 < left <= 1.5
    (left,) = in_a_request((30.0, "1e9"))
    assert 29 < left <= 30


def test_a_standing_deadline_is_not_moved_out():
    assert in_a_request((1.0, None), (30.0, None))[1] <= 1
    assert in_a_request((30.0, None), (1.0, None))[1] <= 1


def test_one_request_s_deadline_is_not_another_s():
    in_a_request((0.001, None))
    assert deadline.current(30) - time.monotonic() > 29


@pytest.mark.parametrize("header", ["", "soon", "0", "-1", "nan", "inf", "1 s"])
def test_a_header_that_is_no_time_is_refused(header):
    with pytest.raises(BadParameter, match="x-timeout-ms"):
        in_a_request((30.0, header))
