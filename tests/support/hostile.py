"""Some three hundred broken or evil images, and a run of all of them through the product's decode.

``python -m tests.support.hostile`` decodes each and prints one JSON object: what came of every file, how long
the slowest took, and how large the process became.
"""

import json
import re
import resource
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from models.errors import CatseyeError
from models.image.decode import decode
from tests.support import bombs, images
from tests.support.bombs import Case

MOST_MEMORY_KB = 600_000

INSIDES = re.compile(r"at 0x|BytesIO|PIL|object at|Traceback|Errno")

WHOLE = list((images.every_format(24, 32) | images.unusual()).values())
MARKS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBP",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"",
]


def corpus() -> Iterator[Case]:
    """Every hostile file, by a name of its own."""
    yield from cut_short()
    yield from bit_flips()
    yield from bombs.too_many_pixels()
    yield from bombs.too_many_frames()
    yield from bombs.too_much_metadata()
    yield from strangers()
    yield from polyglots()
    yield from liars()
    yield from shapes()
    yield from turned()
    yield from images.unusual().items()


def cut_short() -> Iterator[Case]:
    """Every format, ended at eleven places."""
    for name, data in _whole().items():
        for place in (4, 12, 20, 30, len(data) // 10, len(data) // 4, len(data) // 2, len(data) * 3 // 4):
            yield f"{name} of {place} bytes", data[:place]
        for missing in (1, 2, 12):
            yield f"{name} without its last {missing}", data[:-missing]


def bit_flips() -> Iterator[Case]:
    """Every format, with bits turned over in the header and anywhere."""
    for name, data in _whole().items():
        for seed in range(4):
            yield f"{name} with bits flipped, {seed}", images.flipped(data, seed)
            yield f"{name} with its head flipped, {seed}", images.flipped(data[:64], seed, 3) + data[64:]


def strangers() -> Iterator[Case]:
    """What people send by mistake: no image, or one of another format."""
    picture = Image.fromarray(images.photograph())
    for name in ("PPM", "ICO", "JPEG2000", "AVIF", "PDF", "EPS", "TGA", "PCX", "SGI", "DDS"):
        yield f"{name} file", images.save(picture, name)
    yield from {
        "nothing": b"", "one byte": b"\xff", "a text": images.TEXT, "a page": images.HTML, "a document": images.PDF,
        "zeros": bytes(1000), "ones": b"\xff" * 1000, "JSON": b'{"image": [[1, 2], [3, 4]]}',
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "ZIP": b"PK\3\4" + bytes(100), "gzip": b"\x1f\x8b\x08" + bytes(100), "ELF": b"\x7fELF" + bytes(100),
        "video": b"\0\0\0\x20ftypisom" + bytes(100), "HEIC": b"\0\0\0\x18ftypheic" + bytes(100),
        "sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(100), "base64": b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQg",
        "data URL": b"data:image/png;base64,iVBORw0KGgo=", "pickle": b"\x80\4cos\nsystem\n(S'true'\ntR.",
        "multipart": b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n', "template": b"{{7*7}}${7*7}",
        "a path": b"/etc/passwd", "an address": b"http://169.254.169.254/latest/meta-data/", "Korean": "개".encode(),
        "UTF-16": "hello".encode("utf-16"),
    }.items()  # fmt: skip
    yield "random bytes", np.random.default_rng(0).bytes(5_000)
    for mark in (
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\xff\xff\xff\xffWEBP",
        b"BM",
        b"II*\0",
        b"MM\0+",
    ):
        yield f"{mark[:4]!r} and nothing", mark
        yield f"{mark[:4]!r} and zeros", mark + bytes(3_000)
        yield f"{mark[:4]!r} and ones", mark + b"\xff" * 3_000
        yield f"{mark[:4]!r} and noise", mark + np.random.default_rng(1).bytes(3_000)


def polyglots() -> Iterator[Case]:
    """Files that are two things at once."""
    script = b"*/=1;alert(document.domain);/*"
    yield "GIF and JavaScript", b"GIF89a" + script + bytes(50)
    yield "BMP and JavaScript", b"BM" + script + bytes(50)
    for name, data in images.every_format().items():
        yield f"{name} and ZIP", data + b"PK\5\6" + bytes(18)
        yield f"{name} and PHP", data + b"<?php system($_GET['c']); ?>"
        yield f"{name} behind a PDF", images.PDF + data
        yield f"{name} twice", data + data
        yield f"{name} behind a blank", b"\n" + data
    photo, drawing = images.jpeg(), images.png()
    yield "JPEG with a PNG's head", drawing[:16] + photo
    yield "PNG with a JPEG's head", photo[:20] + drawing
    yield "JPEG with a JPEG in its EXIF", photo[:2] + bombs.segment(0xE1, b"Exif\0\0" + photo) + photo[2:]


def liars() -> Iterator[Case]:
    """Headers that contradict themselves or what follows."""
    photo, sof = images.jpeg(), bombs.sof
    yield "JPEG of no height", bombs.jpeg_file(sof(8, 0))
    yield "JPEG of no width", bombs.jpeg_file(sof(0, 8))
    yield "JPEG without tables", bombs.jpeg_file(sof(8, 8))
    yield "JPEG without a size", bombs.jpeg_file()
    yield "JPEG of two sizes", photo[:2] + sof(9, 9) + photo[2:]
    yield "JPEG of seven layers", bombs.jpeg_file(sof(8, 8, components=7))
    yield "lossless JPEG", bombs.jpeg_file(sof(8, 8, marker=0xC3))
    yield "hierarchical JPEG", bombs.jpeg_file(sof(8, 8, marker=0xC5))
    yield "JPEG with a segment of no length", photo[:2] + b"\xff\xe1\0\0" + photo[2:]
    yield "JPEG within a JPEG", photo[:2] + photo
    header = struct.Struct(">IIBBBBB")
    for field, values in {
        "width 0": (0, 8, 8, 2, 0, 0, 0), "height 0": (8, 0, 8, 2, 0, 0, 0), "depth 3": (8, 8, 3, 2, 0, 0, 0),
        "colour 9": (8, 8, 8, 9, 0, 0, 0), "filter 7": (8, 8, 8, 2, 0, 7, 0), "interlace 5": (8, 8, 8, 2, 0, 0, 5),
        "palette missing": (8, 8, 8, 3, 0, 0, 0), "pixels missing": (9, 9, 16, 6, 0, 0, 0),
    }.items():  # fmt: skip
        body = [(b"IHDR", header.pack(*values)), (b"IDAT", b"x\x9c\3\0\0\0\0\1"), (b"IEND", b"")]
        yield f"PNG, {field}", images.png_file(body)
    yield "PNG without pixels", images.png_file([(b"IHDR", header.pack(8, 8, 8, 2, 0, 0, 0)), (b"IEND", b"")])
    yield "PNG of two headers", images.png()[:33] + images.png(9, 9)[8:33] + images.png()[33:]
    yield "PNG with a chunk of 4 GB", images.png()[:33] + b"\xff\xff\xff\xffIDAT" + bytes(100)
    yield "GIF without a frame", bombs.gif_file(8, 8, b"")
    yield "GIF of no size", bombs.gif_file(0, 0, bombs.gif_frame(0, 0, 0, 0))
    yield "GIF whose frame is elsewhere", bombs.gif_file(8, 8, bombs.gif_frame(100, 100, 4, 4))
    yield (
        "GIF with a wrong code size",
        bombs.gif_file(8, 8, bombs.gif_frame(0, 0, 8, 8).replace(b"\0\2\2", b"\0\xff\2")),
    )
    yield (
        "WebP whose canvas is smaller than its picture",
        bombs.riff(bombs.chunk(b"VP8X", bombs.vp8x(4, 4)) + images.encode(images.photograph(), "WEBP")[12:]),
    )
    yield "WebP without a picture", bombs.webp_file(b"VP8X", bombs.vp8x(8, 8))
    for name, width, height, bits, compression in (
        ("no width", 0, 8, 24, 0), ("no height", 8, 0, 24, 0), ("negative width", 2**32 - 8, 8, 24, 0),
        ("17 bits", 8, 8, 17, 0), ("JPEG inside", 8, 8, 24, 4), ("unknown compression", 8, 8, 24, 99),
        ("pixels missing", 99, 99, 24, 0), ("run-length, pixels missing", 99, 99, 8, 1), ("bit fields", 8, 8, 16, 3),
    ):  # fmt: skip
        yield f"BMP, {name}", bombs.bmp_file(width, height, bits, compression)
    for name, tag in {
        "no width": (256, 4, 1, 0), "text for a width": (256, 2, 4, 8), "eight for a width": (256, 4, 8, 8),
        "strips outside": (273, 4, 1, 2**31), "999 samples": (277, 3, 1, 999), "no bits": (258, 3, 1, 0),
        "compression 34925": (259, 3, 1, 34925), "compression 1234": (259, 3, 1, 1234),
        "photometric 77": (262, 3, 1, 77),
        "LZW of zeros": (259, 3, 1, 5), "deflate of zeros": (259, 3, 1, 8), "fax of zeros": (259, 3, 1, 4),
        "JPEG of zeros": (259, 3, 1, 7), "no rows in a strip": (278, 4, 1, 0), "EXIF outside": (34665, 4, 1, 2**31),
    }.items():  # fmt: skip
        yield f"TIFF, {name}", bombs.tiff_file(8, 8, [tag])
    yield "TIFF whose directory is itself", b"II*\0\x08\0\0\0" + bytes(2) + b"\x08\0\0\0"
    yield "TIFF whose pages go round", bombs.tiff_file(8, 8, following_body=struct.pack("<HI", 0, 8) + bytes(64))
    yield "TIFF whose directory is outside", b"II*\0\xff\xff\xff\xff"
    yield "BigTIFF whose directory is outside", b"II+\0\x08\0\0\0" + b"\xff" * 8


def shapes() -> Iterator[Case]:
    """From one pixel to one line, in each format that can hold it."""
    for name in images.FORMATS:
        yield f"{name} of 1x1", images.encode(np.full((1, 1, 3), 77, np.uint8), name)
        if name != "WEBP":
            yield f"{name} of 1x60000", images.encode(np.full((60_000, 1, 3), 77, np.uint8), name)
            yield f"{name} of 60000x1", images.encode(np.full((1, 60_000, 3), 77, np.uint8), name)
    yield "WEBP of 16383x1", images.encode(np.full((1, 16_383, 3), 77, np.uint8), "WEBP")


def turned() -> Iterator[Case]:
    """Every EXIF orientation, and some that do not exist."""
    picture = images.quarters(24, 32)
    for name in ("JPEG", "PNG", "WEBP", "TIFF"):
        for orientation in (*range(9), 255):
            yield f"{name} turned {orientation}", images.turned(orientation, picture, name)


def _whole() -> dict[str, bytes]:
    """Whole files of the kinds that are worth breaking."""
    odd = images.unusual()
    names = ("JPEG progressive", "JPEG CMYK, Adobe", "PNG palette", "PNG 16-bit colour", "WEBP lossless",
             "WEBP animated", "GIF animated", "BMP grey", "TIFF tiff_lzw", "TIFF float with NaN")  # fmt: skip
    return images.every_format() | {name: odd[name] for name in names}


def peak_kb() -> int:
    """The largest this process has been. ``getrusage`` would count the process that started it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def _remembered_warnings() -> int:
    """Texts of warnings that Python keeps for Pillow's modules; its own entry is not one."""
    registries = [
        getattr(module, "__warningregistry__", {}) for name, module in sys.modules.items() if name.startswith("PIL")
    ]
    return sum(1 for registry in registries for key in registry if key != "version")


def main() -> None:
    """Decode everything, and print what came of it."""
    outcomes: dict[str, object] = {}
    seconds: dict[str, float] = {}
    files = 0
    for name, data in corpus():
        files += 1
        start = time.perf_counter()
        try:
            array = decode(data, (224, 224))
            outcomes[name] = [*array.shape, str(array.dtype)]
        except CatseyeError as error:
            outcomes[name] = {"status": error.status, "code": error.code, "detail": error.detail}
        except BaseException as error:
            outcomes[name] = repr(error)
        seconds[name] = time.perf_counter() - start
    report = {
        "files": files,
        "outcomes": outcomes,
        "peak_kb": peak_kb(),
        "slowest": sorted(seconds.items(), key=lambda item: -item[1])[:10],
        "remembered_warnings": _remembered_warnings(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
