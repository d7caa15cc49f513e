import time

import pytest

from models.errors import Overloaded
from service.asgi.body_budget import Bodies, Body


def body(bodies, length=0, seconds=30):
    made = Body(bodies, lambda: made.stopped.append(1), length, time.monotonic() + seconds)
    made.stopped = []
    return made


def test_what_has_room_is_held_until_it_is_closed():
    bodies = Bodies(100)
    one, other = body(bodies), body(bodies)
    one.add(40)
    one.add(20)
    other.add(40)
    assert bodies.held == 100
    one.complete()
    one.close()
    one.close()
    assert bodies.held == 40


def test_over_the_bound_the_largest_that_is_still_sent_gives_way():
    bodies = Bodies(100)
    large, small, whole = body(bodies), body(bodies), body(bodies)
    whole.add(50)
    whole.complete()
    large.add(40)
    small.add(20)
    assert large.stopped
    assert not small.stopped
    assert not whole.stopped
    assert bodies.held == 70
    assert large.refusal is not None
    large.close()
    assert bodies.held == 70


def test_who_is_itself_the_largest_is_refused_and_so_is_who_comes_when_all_have_been_sent():
    bodies = Bodies(100)
    whole, large = body(bodies), body(bodies)
    whole.add(60)
    whole.complete()
    with pytest.raises(Overloaded, match="100 bytes"):
        large.add(41)
    assert not large.stopped
    late = body(bodies)
    late.add(10)
    late.complete()
    with pytest.raises(Overloaded):
        late.add(40)
    assert bodies.held == 60


def test_who_comes_back_when_told_finds_room_for_the_whole_of_it():
    bodies = Bodies(100)
    for seconds in (20, 5, 60):
        filling = body(bodies, seconds=seconds)
        filling.add(25)
        filling.complete()
    # 25 are free; the one that ends in 5 seconds gives 50, the next in 20 gives 75.
    for length, least in ((0, 5), (50, 5), (60, 20), (100, 60)):
        late = body(bodies, length)
        with pytest.raises(Overloaded) as refused:
            late.add(30)
        assert least - 1 < refused.value.retry_after <= least
