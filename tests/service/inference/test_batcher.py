import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from service.inference.batcher import Batcher


class Network:
    """Doubles the first pixel, notes its batches, and fails on the value 13."""

    def __init__(self):
        self.batches = []
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()

    def run(self, images, outputs):
        self.batches.append(len(images))
        self.entered.set()
        assert self.free.wait(30)
        if (images[:, 0, 0, 0] == 13).any():
            raise ValueError("thirteen")
        return {name: images[:, 0, 0, 0].astype(np.float32) * 2 for name in outputs}


def image(value):
    return np.full((2, 2, 3), value, np.uint8)


def held(network, batcher, values, outputs=lambda value: ("logits",)):
    """Answers to values that all came while a first run was going on."""
    network.free.clear()
    with ThreadPoolExecutor(len(values) + 1) as pool:
        first = pool.submit(batcher.run, image(0), ("logits",))
        assert network.entered.wait(30)
        rest = [pool.submit(batcher.run, image(value), outputs(value)) for value in values]
        while batcher.waiting < len(values):
            time.sleep(0.001)
        network.free.set()
        first.result(30)
        return [future.exception(30) or future.result() for future in rest]


def test_a_lone_image_leaves_at_once():
    network, seen = Network(), []
    batcher = Batcher(network.run, max_batch=8, wait=60, on_batch=lambda size, reason: seen.append((size, reason)))
    answer, waited, ran = batcher.run(image(21), ("logits",))
    assert answer == {"logits": 42.0}
    assert waited < 30
    assert ran >= 0
    assert seen == [(1, "idle")]


def test_an_image_that_is_brought_is_decoded_first_and_one_that_cannot_be_is_waited_for_by_nobody():
    batcher = Batcher(Network().run, max_batch=8, wait=60)
    with pytest.raises(ZeroDivisionError):
        batcher.decode_and_run(lambda: 1 // 0, ("logits",))
    answer, seconds = batcher.decode_and_run(lambda: image(4), ("logits",))
    assert answer == {"logits": 8.0}
    assert set(seconds) == {"decode", "batch_wait", "inference"}


def test_what_came_during_a_run_leaves_together_and_each_gets_its_own():
    network = Network()
    answers = held(network, Batcher(network.run, max_batch=8), list(range(1, 11)))
    assert [answer[0]["logits"] for answer in answers] == [2.0 * value for value in range(1, 11)]
    assert sorted(network.batches) == [1, 2, 8]


def test_only_the_culprit_fails():
    network = Network()
    answers = held(network, Batcher(network.run, max_batch=8), [12, 13, 14])
    assert answers[0][0]["logits"] == 24.0
    assert isinstance(answers[1], ValueError)
    assert answers[2][0]["logits"] == 28.0
    assert network.batches == [1, 3, 1, 1, 1]


def test_other_outputs_are_another_batch():
    network = Network()
    answers = held(
        network, Batcher(network.run, max_batch=8), [1, 2, 3], lambda value: ("maps",) if value == 2 else ("logits",)
    )
    assert [set(answer[0]) for answer in answers] == [{"logits"}, {"maps"}, {"logits"}]


def test_it_waits_for_images_on_their_way_and_leaves_when_full():
    network, seen = Network(), []
    batcher = Batcher(network.run, max_batch=2, wait=60, on_batch=lambda size, reason: seen.append((size, reason)))
    batcher.expect(1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.run, image(1), ("logits",))
        second = pool.submit(batcher.run, image(2), ("logits",))
        assert [first.result(30)[0]["logits"], second.result(30)[0]["logits"]] == [2.0, 4.0]
    assert seen == [(2, "full")]


def test_it_stops_waiting_for_one_that_does_not_come_and_after_its_time():
    network, seen = Network(), []
    batcher = Batcher(network.run, max_batch=2, wait=60, on_batch=lambda size, reason: seen.append(reason))
    batcher.expect(1)
    with ThreadPoolExecutor(1) as pool:
        lone = pool.submit(batcher.run, image(1), ("logits",))
        batcher.expect(-1)
        lone.result(30)
    short = Batcher(network.run, max_batch=2, wait=0.01, on_batch=lambda size, reason: seen.append(reason))
    short.expect(1)
    short.run(image(1), ("logits",))
    assert seen == ["idle", "timeout"]


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_a_storm_of_threads_loses_nobody_and_mixes_nobody_up(runs):
    going, most = 0, 0
    lock = threading.Lock()

    def run(images, outputs):
        nonlocal going, most
        with lock:
            going += 1
            most = max(most, going)
        time.sleep(0.0005)
        with lock:
            going -= 1
        return {"logits": images[:, 0, 0, 0].astype(np.float32)}

    batcher = Batcher(run, max_batch=4, wait=0.001, runs=runs)

    def one(number):
        batcher.expect(1)
        batcher.expect(-1)
        return float(batcher.run(image(number % 251), ("logits",))[0]["logits"])

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(2000), timeout=120)) == [float(n % 251) for n in range(2000)]
    assert most <= runs


@pytest.mark.parametrize("runs", [2, 3, 4])
def test_no_right_to_run_is_lost_whatever_outputs_are_asked_for(runs):
    """A leader whose image another leader has answered used to exit with the right to run, after which all waited."""
    gate = None

    def run(images, outputs):
        if gate is not None:
            gate.wait(30)
        time.sleep(0.002 if "maps" in outputs else 0.0002)  # so that several leaders finish while another runs
        return {name: images[:, 0, 0, 0].astype(np.float32) for name in outputs}

    batcher = Batcher(run, max_batch=4, wait=0.0005, runs=runs)
    with ThreadPoolExecutor(24) as pool:
        kinds = [("logits",), ("maps",), ("logits", "maps")]
        asked = [pool.submit(batcher.run, image(n % 251), kinds[n * 7919 % 11 % 3]) for n in range(4000)]
        for number, future in enumerate(asked):
            assert set(future.result(60)[0].values()) == {number % 251}
        gate = threading.Barrier(runs)  # passed only by so many runs at once
        for future in [pool.submit(batcher.run, image(7), ("logits",)) for _ in range(runs)]:
            assert future.result(60)[0] == {"logits": 7}


def test_an_image_that_nobody_waits_for_any_more_is_not_run():
    network = Network()
    gone = threading.Event()
    batcher = Batcher(network.run, max_batch=8)
    network.free.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher.run, image(0), ("logits",))
        assert network.entered.wait(30)
        left = [pool.submit(batcher.run, image(1), ("logits",), gone.is_set) for _ in range(2)]
        while batcher.waiting < 2:
            time.sleep(0.001)
        stays = pool.submit(batcher.run, image(2), ("logits",))
        while batcher.waiting < 3:
            time.sleep(0.001)
        gone.set()
        network.free.set()
        assert [type(future.exception(30)) for future in left] == [CancelledError] * 2
        assert (first.result(30)[0], stays.result(30)[0]) == ({"logits": 0}, {"logits": 4})
    assert network.batches == [1, 1]
