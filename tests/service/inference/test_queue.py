import asyncio
import time

import pytest

from models.errors import Overloaded, TimedOut
from service.inference.queue import AdmissionQueue
from service.metrics import QUEUE_DEPTH


def soon(seconds=5.0):
    return time.monotonic() + seconds


def test_slots_bound_what_runs_and_the_rest_waits_in_order():
    async def scenario():
        gate = AdmissionQueue("cells", slots=2, queue=10)
        running, most, order = 0, 0, []

        async def work(number):
            nonlocal running, most
            async with gate.enter(soon()):
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
        gate = AdmissionQueue("cells", slots=1, queue=1)
        async with gate.enter(soon()):
            waiter = asyncio.create_task(gate.enter(soon()).__aenter__())
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="as many as may") as caught:
                async with gate.enter(soon()):
                    pass
            assert caught.value.retry_after > 0
            assert gate.full
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
        assert gate.waiting == 0

    asyncio.run(scenario())


def test_the_time_to_come_back_follows_how_long_work_took_and_how_much_waits():
    async def after(seconds, times, waiting=0):
        gate = AdmissionQueue("cells", slots=1, queue=10)
        for _ in range(times):
            async with gate.enter(soon()):
                await asyncio.sleep(seconds)
        async with gate.enter(soon()):
            waiters = [asyncio.create_task(gate.enter(soon()).__aenter__()) for _ in range(waiting)]
            await asyncio.sleep(0)
            told = gate.retry_after()
            for waiter in waiters:
                waiter.cancel()
            await asyncio.gather(*waiters, return_exceptions=True)
        return told

    quick, slow = asyncio.run(after(0, 60)), asyncio.run(after(0.2, 5))
    assert quick < 0.05 < 0.1 < slow  # at first it is guessed to be 0.05 s
    assert asyncio.run(after(0, 0, waiting=8)) == pytest.approx(5 * 0.05)


def test_what_has_expired_is_never_run():
    async def scenario():
        gate = AdmissionQueue("cells", slots=1, queue=5)
        async with gate.enter(soon()):
            with pytest.raises(TimedOut, match="time limit"):
                async with gate.enter(soon(0.01)):
                    pytest.fail("ran after its deadline")
        async with gate.enter(soon()) as waited:
            assert waited < 1

    asyncio.run(scenario())


def test_a_failure_gives_the_slot_back():
    async def scenario():
        gate = AdmissionQueue("cells", slots=1, queue=5)
        for _ in range(3):
            with pytest.raises(RuntimeError):
                async with gate.enter(soon()):
                    raise RuntimeError
        async with gate.enter(soon()):
            pass

    asyncio.run(scenario())


def test_those_ahead_are_let_in_and_still_count_as_waiting():
    async def scenario():
        gate = AdmissionQueue("cells", slots=2, queue=5, ahead=3)
        leave = asyncio.Event()

        async def work():
            async with gate.enter(soon()):
                await leave.wait()

        tasks = [asyncio.create_task(work()) for _ in range(7)]
        await asyncio.sleep(0.01)
        assert (gate.inside, gate.waiting, gate.full) == (5, 5, True)
        assert QUEUE_DEPTH.labels("cells")._value.get() == before + 5
        with pytest.raises(Overloaded, match="5 images wait"):
            async with gate.enter(soon()):
                pass
        leave.set()
        await asyncio.gather(*tasks)
        assert (gate.inside, gate.waiting, gate.full) == (0, 0, False)
        assert QUEUE_DEPTH.labels("cells")._value.get() == before

    before = QUEUE_DEPTH.labels("cells")._value.get()
    asyncio.run(scenario())


@pytest.mark.parametrize(("queue", "inside"), [(1, 3), (2, 4), (9, 6)])
def test_no_more_are_ahead_than_may_wait(queue, inside):
    async def scenario():
        gate = AdmissionQueue("cells", slots=2, queue=queue, ahead=4)
        leave = asyncio.Event()

        async def work():
            async with gate.enter(soon()):
                await leave.wait()

        tasks = [asyncio.create_task(work()) for _ in range(2 + queue)]
        await asyncio.sleep(0.01)
        assert (gate.inside, gate.waiting, gate.full) == (inside, queue, True)
        leave.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
