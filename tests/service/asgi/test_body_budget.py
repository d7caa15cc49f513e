import time

import pytest

from models.errors import Overloaded
from service.asgi.body_budget import Body, BodyBudget


def body(length=0, seconds=30):
    made = Body(lambda: made.stopped.append(1), length, time.monotonic() + seconds)
    made.stopped = []
    return made


def test_bytes_are_held_until_the_body_is_released():
    budget = BodyBudget(100)
    one, other = body(), body()
    budget.grow(one, 40, complete=False)
    budget.grow(one, 20, complete=True)
    budget.grow(other, 40, complete=False)
    assert budget.held == 100
    budget.release(one)
    budget.release(one)
    assert budget.held == 40


def test_over_the_bound_the_largest_body_still_being_sent_is_refused():
    budget = BodyBudget(100)
    large, small, sent = body(), body(), body()
    budget.grow(sent, 50, complete=True)
    budget.grow(large, 40, complete=False)
    budget.grow(small, 20, complete=False)
    assert large.stopped
    assert not small.stopped
    assert not sent.stopped
    assert budget.held == 70
    assert large.refusal is not None
    budget.release(large)
    assert budget.held == 70


def test_the_growing_body_is_refused_where_it_is_the_largest_or_all_others_have_been_sent():
    budget = BodyBudget(100)
    sent, large, late = body(), body(), body()
    budget.grow(sent, 60, complete=True)
    with pytest.raises(Overloaded, match="100 bytes"):
        budget.grow(large, 41, complete=False)
    assert not large.stopped
    budget.grow(late, 10, complete=True)
    with pytest.raises(Overloaded):
        budget.grow(late, 40, complete=True)
    assert budget.held == 60


def test_after_retry_after_the_whole_body_fits():
    budget = BodyBudget(100)
    for seconds in (20, 5, 60):
        budget.grow(body(seconds=seconds), 25, complete=True)
    # 25 are free; the one that ends in 5 seconds gives 50, the next in 20 gives 75.
    for length, least in ((0, 5), (50, 5), (60, 20), (100, 60)):
        with pytest.raises(Overloaded) as refused:
            budget.grow(body(length), 30, complete=False)
        assert least - 1 < refused.value.retry_after <= least
