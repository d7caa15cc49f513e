import asyncio
import threading

import pytest

from service.inference.thread_pool import ThreadPool


@pytest.fixture
def workers():
    made = ThreadPool(3)
    yield made
    made.close()


def test_answers_and_errors_come_back_to_who_asked(workers):
    def work(number):
        if number % 3 == 0:
            raise KeyError(number)
        return number

    async def scenario():
        return await asyncio.gather(
            *(workers.run(lambda number=number: work(number)) for number in range(100)), return_exceptions=True
        )

    for number, answer in enumerate(asyncio.run(scenario())):
        assert answer == number if number % 3 else isinstance(answer, KeyError)


def test_so_many_run_at_once_and_more_after_growing(workers):
    for threads in (3, 5):
        workers.grow(threads)
        together = threading.Barrier(threads)

        async def scenario(together=together, threads=threads):
            await asyncio.gather(*(workers.run(lambda: together.wait(30)) for _ in range(threads)))

        asyncio.run(scenario())


def test_what_was_given_up_while_it_waited_is_not_run(workers):
    ran = []

    async def scenario():
        hold = threading.Event()
        busy = [asyncio.ensure_future(workers.run(lambda: hold.wait(30))) for _ in range(3)]
        late = asyncio.ensure_future(workers.run(lambda: ran.append(1)))
        await asyncio.sleep(0.01)
        late.cancel()
        await asyncio.sleep(0)
        hold.set()
        await asyncio.gather(*busy)
        await workers.run(lambda: None)

    asyncio.run(scenario())
    assert not ran


def test_an_odd_exception_does_not_hang(workers):
    def stop():
        raise StopIteration

    with pytest.raises(RuntimeError):
        asyncio.run(workers.run(stop))


def test_after_closing_nothing_is_taken():
    workers = ThreadPool(1)
    workers.close()
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(workers.run(lambda: None))
