import asyncio
import threading

import pytest

from service.inference.thread_pool import ThreadPool


@pytest.fixture
def pool():
    made = ThreadPool(3)
    yield made
    made.close()


def test_answers_and_errors_come_back_to_who_asked(pool):
    def work(number):
        if number % 3 == 0:
            raise KeyError(number)
        return number

    async def scenario():
        return await asyncio.gather(
            *(pool.run(lambda cancelled, number=number: work(number)) for number in range(100)), return_exceptions=True
        )

    for number, answer in enumerate(asyncio.run(scenario())):
        assert answer == number if number % 3 else isinstance(answer, KeyError)


def test_so_many_run_at_once_and_more_after_growing(pool):
    for threads in (3, 5):
        pool.grow(threads)
        together = threading.Barrier(threads)

        async def scenario(together=together, threads=threads):
            await asyncio.gather(*(pool.run(lambda cancelled: together.wait(30)) for _ in range(threads)))

        asyncio.run(scenario())


def test_what_was_given_up_while_it_waited_is_not_run(pool):
    ran = []

    async def scenario():
        hold = threading.Event()
        busy = [asyncio.ensure_future(pool.run(lambda cancelled: hold.wait(30))) for _ in range(3)]
        late = asyncio.ensure_future(pool.run(lambda cancelled: ran.append(1)))
        await asyncio.sleep(0.01)
        late.cancel()
        await asyncio.sleep(0)
        hold.set()
        await asyncio.gather(*busy)
        await pool.run(lambda cancelled: None)

    asyncio.run(scenario())
    assert not ran


def test_an_odd_exception_does_not_hang(pool):
    def stop(cancelled):
        raise StopIteration

    with pytest.raises(RuntimeError):
        asyncio.run(pool.run(stop))


def test_after_closing_nothing_is_taken():
    pool = ThreadPool(1)
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(pool.run(lambda cancelled: None))
