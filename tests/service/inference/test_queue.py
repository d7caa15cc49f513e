import asyncio
import threading
import time

import pytest

from models.errors import Overloaded, TimedOut
from service.inference.queue import AdmissionQueue, RenderQueue
from service.metrics import QUEUE_DEPTH


def soon(seconds=5.0):
    return time.monotonic() + seconds


def test_slots_bound_what_runs_and_the_rest_waits_in_order():
    async def scenario():
        queue = AdmissionQueue("cells", slots=2, queue=10)
        running, most, order = 0, 0, []

        async def work(number):
            nonlocal running, most
            async with queue.enter(soon()):
                running += 1
                most = max(most, running)
                order.append(number)
                await asyncio.sleep(0.01)
                running -= 1

        await asyncio.gather(*(work(number) for number in range(8)))
        return most, order

    most, order = asyncio.run(scenario())
    assert most == 2
    assert order == list(range(8))


def test_a_full_queue_is_refused_at_once_with_a_time_to_come_back():
    async def scenario():
        queue = AdmissionQueue("cells", slots=1, queue=1)
        async with queue.enter(soon()):
            waiter = asyncio.create_task(queue.enter(soon()).__aenter__())
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="the limit") as caught:
                async with queue.enter(soon()):
                    pass
            assert caught.value.retry_after > 0
            assert queue.full
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
        assert queue.waiting == 0

    asyncio.run(scenario())


def test_the_time_to_come_back_follows_how_long_work_took_and_how_much_waits():
    async def after(seconds, times, waiting=0):
        queue = AdmissionQueue("cells", slots=1, queue=10)
        for _ in range(times):
            async with queue.enter(soon()):
                await asyncio.sleep(seconds)
        async with queue.enter(soon()):
            waiters = [asyncio.create_task(queue.enter(soon()).__aenter__()) for _ in range(waiting)]
            await asyncio.sleep(0)
            told = queue.retry_after()
            for waiter in waiters:
                waiter.cancel()
            await asyncio.gather(*waiters, return_exceptions=True)
        return told

    quick, slow = asyncio.run(after(0, 60)), asyncio.run(after(0.2, 5))
    assert quick < 0.05 < 0.1 < slow  # at first it is guessed to be 0.05 s
    assert asyncio.run(after(0, 0, waiting=8)) == pytest.approx(5 * 0.05)


def test_what_has_expired_is_never_run():
    async def scenario():
        queue = AdmissionQueue("cells", slots=1, queue=5)
        async with queue.enter(soon()):
            with pytest.raises(TimedOut, match="time limit"):
                async with queue.enter(soon(0.01)):
                    pytest.fail("ran after its deadline")
        async with queue.enter(soon()):
            pass

    asyncio.run(scenario())


def test_a_failure_gives_the_slot_back():
    async def scenario():
        queue = AdmissionQueue("cells", slots=1, queue=5)
        for _ in range(3):
            with pytest.raises(RuntimeError):
                async with queue.enter(soon()):
                    raise RuntimeError
        async with queue.enter(soon()):
            pass

    asyncio.run(scenario())


def test_those_ahead_are_let_in_and_still_count_as_waiting():
    async def scenario():
        queue = AdmissionQueue("cells", slots=2, queue=5, prefetch=3)
        leave = asyncio.Event()

        async def work():
            async with queue.enter(soon()):
                await leave.wait()

        tasks = [asyncio.create_task(work()) for _ in range(7)]
        await asyncio.sleep(0.01)
        assert (queue.admitted, queue.waiting, queue.full) == (5, 5, True)
        assert QUEUE_DEPTH.labels("cells")._value.get() == before + 5
        with pytest.raises(Overloaded, match="5 images wait"):
            async with queue.enter(soon()):
                pass
        leave.set()
        await asyncio.gather(*tasks)
        assert (queue.admitted, queue.waiting, queue.full) == (0, 0, False)
        assert QUEUE_DEPTH.labels("cells")._value.get() == before

    before = QUEUE_DEPTH.labels("cells")._value.get()
    asyncio.run(scenario())


@pytest.mark.parametrize(("limit", "inside"), [(1, 3), (2, 4), (9, 6)])
def test_no_more_are_prefetched_than_may_wait(limit, inside):
    async def scenario():
        queue = AdmissionQueue("cells", slots=2, queue=limit, prefetch=4)
        leave = asyncio.Event()

        async def work():
            async with queue.enter(soon()):
                await leave.wait()

        tasks = [asyncio.create_task(work()) for _ in range(2 + limit)]
        await asyncio.sleep(0.01)
        assert (queue.admitted, queue.waiting, queue.full) == (inside, limit, True)
        leave.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


class Held:
    """Work that says when it has begun and ends when it is let go."""

    def __init__(self):
        self.begun, self.free = threading.Semaphore(0), threading.Event()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.begun.release()
        assert self.free.wait(30)
        with self._lock:
            self.running -= 1
        return "drawn"


@pytest.fixture
def held():
    made = Held()
    yield made
    made.free.set()


async def begun(held, times=1):
    for _ in range(times):
        assert await asyncio.to_thread(held.begun.acquire, timeout=30)


def drawing(**changes):
    return RenderQueue(**{"threads": 4, "queue": 10, "max_pixels": 100} | changes)


def test_drawing_gives_what_it_returns_or_raises():
    async def scenario():
        queue = drawing()
        assert await queue.run(lambda: 7, deadline=soon(), pixels=10) == 7
        with pytest.raises(ZeroDivisionError):
            await queue.run(lambda: 1 // 0, deadline=soon(), pixels=10)

    asyncio.run(scenario())


@pytest.mark.parametrize(("pixels", "most"), [(0, 4), (25, 4), (50, 2), (60, 1), (1000, 1)])
def test_the_threads_and_the_pixels_decoded_at_once_are_bounded(held, pixels, most):
    async def scenario():
        queue = drawing()
        tasks = [asyncio.create_task(queue.run(held, deadline=soon(), pixels=pixels)) for _ in range(9)]
        await begun(held, most)
        held.free.set()
        assert await asyncio.gather(*tasks) == ["drawn"] * 9
        assert held.most <= most

    asyncio.run(scenario())


def test_more_pictures_than_may_wait_are_refused_at_once(held):
    async def scenario():
        queue = drawing(threads=1, queue=2)
        tasks = [asyncio.create_task(queue.run(held, deadline=soon(), pixels=1)) for _ in range(3)]
        await begun(held)
        with pytest.raises(Overloaded, match="wait to be drawn"):
            await queue.run(held, deadline=soon(), pixels=1)
        held.free.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


def test_the_arrays_that_waiting_pictures_hold_are_bounded_and_a_large_one_alone_is_drawn(held):
    async def scenario():
        queue = drawing(threads=1, max_held=1000)
        large = asyncio.create_task(queue.run(held, deadline=soon(), pixels=1, held=5000))
        await begun(held)
        with pytest.raises(Overloaded):
            await queue.run(held, deadline=soon(), pixels=1, held=1)
        held.free.set()
        await large
        assert await queue.run(lambda: 1, deadline=soon(), pixels=1, held=900) == 1

    asyncio.run(scenario())


def test_a_picture_whose_time_is_over_is_not_drawn(held):
    async def scenario():
        queue, drawn = drawing(threads=1), []
        first = asyncio.create_task(queue.run(held, deadline=soon(), pixels=1))
        await begun(held)
        for deadline in (time.monotonic() - 1, soon(0.02)):
            with pytest.raises(TimedOut, match="time limit"):
                await queue.run(lambda: drawn.append(1), deadline=deadline, pixels=1, held=10)
        held.free.set()
        await first
        assert await queue.run(lambda: 1, deadline=soon(), pixels=1) == 1
        assert drawn == []

    asyncio.run(scenario())


def test_a_client_that_leaves_gives_up_its_place_but_what_runs_keeps_its_memory_to_the_end(held):
    async def scenario():
        queue, drawn = drawing(threads=2), []
        running = asyncio.create_task(queue.run(held, deadline=soon(), pixels=100))
        await begun(held)
        waiting = asyncio.create_task(queue.run(lambda: drawn.append(1), deadline=soon(), pixels=100))
        last = asyncio.create_task(queue.run(lambda: drawn.append(2), deadline=soon(), pixels=100))
        await asyncio.sleep(0)
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert not last.done()  # the thread of the first still decodes
        held.free.set()
        await last
        assert drawn == [2]

    asyncio.run(scenario())
