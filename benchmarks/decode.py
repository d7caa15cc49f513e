"""How our decode compares with the three lines that everybody writes: open, convert, resize.

    python benchmarks/decode.py [--seconds 3]

Both decode the same bytes to 224x224 RGB, by turns in one run and in processor time, so that a busy machine
treats both the same way. The median of each and their ratio are printed, and how much two threads decode more than
one does (that by the clock: on a machine with other work it falls towards 1).
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from models.image.decode import decode

SIZE = (224, 224)
Decode = Callable[[bytes], object]


def picture(height: int, width: int) -> Image.Image:
    """A soft picture with grain: it compresses about as a photograph does."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 80, width // 80, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.normal(0, 6, (height, width, 1)).astype(np.int16)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def files() -> dict[str, bytes]:
    """The test images by name."""
    small, large = picture(480, 640), picture(3000, 4000)
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "JPEG 640x480": encoded(small, "JPEG", quality=85),
        "JPEG 4000x3000": encoded(large, "JPEG", quality=85),
        "JPEG 4000x3000, from a phone": encoded(
            large, "JPEG", quality=85, exif=turned, icc_profile=bytes(3_000), comment=bytes(20_000)
        ),
        "PNG 640x480": encoded(small, "PNG"),
        "PNG 640x480, transparent": encoded(small.convert("RGBA"), "PNG"),
        "WebP 640x480": encoded(small, "WEBP"),
    }


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """The image as a file."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def plain(data: bytes) -> object:
    """What everybody writes."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR))


def ours(data: bytes) -> object:
    """What the product does."""
    return decode(data, SIZE)


def by_turns(data: bytes, seconds: float) -> tuple[float, float]:
    """Median processor seconds of ours and of the plain one, measured alternately."""
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for run, kept in zip((ours, plain), times, strict=True):
            start = time.process_time()
            run(data)
            kept.append(time.process_time() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def two_threads(data: bytes, seconds: float) -> float:
    """How many times as much two threads decode as one, rounds of each by turns."""
    once = [data] * max(4, int(0.05 / by_turns(data, 0)[0]))
    ratios: list[float] = []
    end = time.perf_counter() + seconds
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(2) as two:
        while time.perf_counter() < end or len(ratios) < 3:
            took = []
            for pool in (one, two):
                start = time.perf_counter()
                list(pool.map(ours, once))
                took.append(time.perf_counter() - start)
            ratios.append(took[0] / took[1])
    return statistics.median(ratios)


def main() -> None:
    """Measure every file and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each file and measurement")
    seconds = parser.parse_args().seconds
    print(f"{'to 224x224':30} {'bytes':>10} {'ours':>9} {'plain':>9} {'ratio':>6} {'2 threads':>9}")
    for name, data in files().items():
        mine, theirs = by_turns(data, seconds)
        threads = two_threads(data, seconds)
        print(
            f"{name:30} {len(data):10,} {mine * 1e3:6.2f} ms {theirs * 1e3:6.2f} ms "
            f"{theirs / mine:5.1f}x {threads:8.2f}x"
        )


if __name__ == "__main__":
    main()
