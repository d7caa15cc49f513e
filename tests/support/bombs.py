"""Files that promise or hide far more than they weigh, built byte by byte."""

import struct
import zlib
from collections.abc import Iterator

from tests.support import images

Case = tuple[str, bytes]


def too_many_pixels() -> Iterator[Case]:
    """Headers of 900 megapixels in each format, and sizes hidden in a second place."""
    yield "PNG of 900 megapixels", images.bomb()
    yield "PNG of 2 to the 62 pixels", images.bomb(2**31 - 1, 2**31 - 1)
    yield "PNG one pixel wide, two thousand million high", images.bomb(1, 2**31 - 1)
    height = 40_000_000
    thread = struct.pack(">IIBBBBB", 1, height, 8, 0, 0, 0, 0)
    rows = _packed_zeros(2 * height // 1_000_000)
    yield (
        "PNG one pixel wide, forty million high",
        images.png_file([(b"IHDR", thread), (b"IDAT", rows), (b"IEND", b"")]),
    )
    yield "JPEG of 65535x65535", jpeg_file(sof(65535, 65535))
    yield "progressive JPEG of 65535x65535", jpeg_file(sof(65535, 65535, marker=0xC2))
    yield "GIF of 65535x65535", gif_file(65535, 65535, gif_frame(0, 0, 1, 1))
    yield "GIF whose frame is larger than its screen", gif_file(1, 1, gif_frame(65535, 65535, 65535, 65535))
    yield "WebP of 16 million by 16 million", webp_file(b"VP8X", vp8x(2**24, 2**24))
    yield "WebP lossless of 16384x16384", webp_file(b"VP8L", b"\x2f\xff\xff\xff\xff" + bytes(50))
    yield "WebP lossy of 16383x16383", webp_file(b"VP8 ", vp8(16383, 16383))
    yield "BMP of 30000x30000", bmp_file(30000, 30000)
    yield "BMP of 30000x30000, top down", bmp_file(30000, 2**32 - 30000)
    yield "BMP core header of 65535x65535", bmp_core(65535, 65535)
    yield "BMP run-length, 49 million pixels", bmp_file(7000, 7000, bits=8, compression=1, body=b"\0\0" * 500)
    yield "BMP run-length, wide, delta", bmp_file(4_000_000, 1, 8, 1, b"\0\2\xff\xff")
    yield "TIFF of 30000x30000", tiff_file(30000, 30000)
    yield "TIFF of 4 thousand million squared", tiff_file(2**32 - 1, 2**32 - 1)
    yield "TIFF whose tile is larger than itself", tiff_file(8, 8, [(322, 4, 1, 60000), (323, 4, 1, 60000)])
    yield "JPEG painted ten thousand times", many_scans(10_000)


def too_many_frames() -> Iterator[Case]:
    """More pictures in one file than anybody looks at."""
    yield "GIF of 5000 frames", gif_file(1, 1, gif_frame(0, 0, 1, 1) * 5_000)
    yield (
        "animated PNG of four thousand million frames",
        images.png_file(
            [
                (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
                (b"acTL", struct.pack(">II", 2**32 - 1, 0)),
                (b"IDAT", zlib.compress(b"\0\0")),
                (b"IEND", b""),
            ]
        ),
    )
    frame = bytes(16) + chunk(b"VP8L", b"\x2f\0\0\0\0\x88\x88\x08")
    body = chunk(b"VP8X", vp8x(1, 1, flags=2)) + chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", frame) * 5_000
    yield "WebP of 5000 frames", riff(body)
    pages = b"".join(struct.pack("<HHHIII", 1, 256, 4, 1, 1, 8 + 18 * (number + 1)) for number in range(5_000))
    yield "TIFF of 5000 pages", tiff_file(8, 8, following_body=pages)


def too_much_metadata() -> Iterator[Case]:
    """Text, colour profiles and EXIF that swell, repeat, or point at themselves."""
    zeros = _packed_zeros(60)
    picture = images.png(8, 8)
    head, rest = picture[:33], picture[33:]
    extra = images.png_file([(b"zTXt", b"a\0\0" + zeros)])[8:]
    yield "PNG with 60 MB of compressed text", head + extra + rest
    yield "PNG with 60 MB of compressed text a hundred times", head + extra * 100 + rest
    yield "PNG with text after its pixels", head + rest[:-12] + extra * 5 + rest[-12:]
    yield "PNG with an ICC profile of 60 MB", head + images.png_file([(b"iCCP", b"a\0\0" + zeros)])[8:] + rest
    text = images.png_file([(b"iTXt", b"a\0\1\0\0\0" + zeros)])[8:]
    yield "PNG with international text of 60 MB", head + text * 3 + rest
    yield "PNG with a comment of 10 MB", head + images.png_file([(b"tEXt", b"a\0" + b"x" * 10_000_000)])[8:] + rest
    yield "PNG of a million empty chunks", head + images.png_file([(b"abCd", b"")])[8:] * 1_000_000 + rest
    yield (
        "PNG with pixels for 500 MB",
        images.png_file(
            [
                (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)),
                (b"IDAT", _packed_zeros(500)),
                (b"IEND", b""),
            ]
        ),
    )
    photo = images.jpeg(8, 8)
    overlapping = b"Exif\0\0" + overlapping_tags(5_000)
    yield "JPEG whose EXIF tags overlap", photo[:2] + segment(0xE1, overlapping) + photo[2:]
    piece = b"Exif\0\0" + bytes(60_000)
    yield (
        "JPEG with EXIF in 300 pieces",
        photo[:2] + segment(0xE1, overlapping) + segment(0xE1, piece) * 300 + photo[2:],
    )
    icc = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000))
    yield "JPEG with 300 ICC pieces", photo[:2] + icc * 300 + photo[2:]
    yield "JPEG with four million comments", photo[:2] + segment(0xFE, b"") * 4_000_000 + photo[2:]
    yield "JPEG with 19 MB of fill bytes", photo[:2] + b"\xff" * 19_000_000 + photo[2:]
    yield "JPEG of markers without length", photo[:2] + b"\xff\x01" * 9_000_000 + photo[2:]
    resources = segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5_000)
    yield "JPEG with Photoshop resources", photo[:2] + resources * 100 + photo[2:]
    drawing = images.encode(images.photograph(8, 8), "GIF")
    start = 13 + (3 << (drawing[10] & 7) + 1)
    comment = b"!\xfe" + b"\xffx" * 100_000
    yield (
        "GIF with a comment of small pieces",
        drawing[:start] + b"!\xfe" + b"\1x" * 9_000_000 + b"\0" + drawing[start:],
    )
    yield (
        "GIF with a comment of large pieces",
        drawing[:start] + b"!\xfe" + (b"\xff" + b"x" * 255) * 70_000 + b"\0" + drawing[start:],
    )
    yield "GIF with junk between blocks", drawing[:start] + bytes(19_000_000) + drawing[start:]
    yield "GIF whose comment eats it", drawing[:start] + comment + drawing[start:]
    yield "TIFF whose tags overlap", overlapping_tags(4_000, body=bytes(1_000_000))
    yield "TIFF of 65535 tags", overlapping_tags(65_535, body=bytes(100_000))
    inner = struct.pack("<H", 4_000) + b"".join(struct.pack("<HHII", n, 7, 48_000, 8) for n in range(4_000))
    yield "TIFF whose EXIF tags overlap", tiff_file(8, 8, [(34665, 4, 1, 8)], inner + bytes(4))
    yield "TIFF of two million strips", tiff_file(8, 8, [(273, 4, 2_000_000, 8)], following_body=bytes(8_000_000))
    yield (
        "WebP with an EXIF block of 15 MB",
        riff(
            chunk(b"VP8X", vp8x(8, 8, flags=8))
            + images.encode(images.photograph(8, 8), "WEBP")[12:]
            + chunk(b"EXIF", bytes(15_000_000))
        ),
    )
    yield "WebP of a million chunks", riff(chunk(b"VP8X", vp8x(8, 8)) + chunk(b"junk", b"") * 1_000_000)


def _packed_zeros(megabytes: int) -> bytes:
    """That many zeros, compressed a thousand times, without ever holding them."""
    packer = zlib.compressobj(6)
    return b"".join(packer.compress(bytes(1_000_000)) for _ in range(megabytes)) + packer.flush()


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def sof(width: int, height: int, marker: int = 0xC0, components: int = 1) -> bytes:
    """A JPEG's start of frame."""
    layers = b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    return segment(marker, struct.pack(">BHHB", 8, height, width, components) + layers)


def jpeg_file(*segments: bytes) -> bytes:
    """A JPEG with an empty scan behind those segments."""
    scan = segment(0xDA, bytes([1, 1, 0, 0, 63, 0]))
    return b"\xff\xd8" + b"".join(segments) + scan + b"\xff\xd9"


def many_scans(count: int, side: int = 2_000) -> bytes:
    """A progressive JPEG that sends its last scan again and again."""
    data = images.encode(images.photograph(32, 32)[:, :, 0], "JPEG", progressive=True)
    place = data.rindex(b"\xff\xda")
    size = data.index(b"\xff\xc2") + 5
    data = data[:size] + struct.pack(">HH", side, side) + data[size + 4 :]
    return data[:place] + data[place:-2] * count + data[-2:]


def gif_frame(left: int, top: int, width: int, height: int) -> bytes:
    """A frame of one pixel's data, wherever it claims to stand."""
    return struct.pack("<BHHHHB", 0x2C, left, top, width, height, 0) + b"\2\2\x44\1\0"


def gif_file(width: int, height: int, frames: bytes) -> bytes:
    """A GIF with a palette of two colours."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frames + b";"


def chunk(kind: bytes, body: bytes) -> bytes:
    """A RIFF chunk."""
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def riff(body: bytes) -> bytes:
    """A WebP file of those chunks."""
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_file(kind: bytes, body: bytes) -> bytes:
    """A WebP file of one chunk."""
    return riff(chunk(kind, body))


def vp8x(width: int, height: int, flags: int = 0) -> bytes:
    """WebP's extended header."""
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def vp8(width: int, height: int) -> bytes:
    """The beginning of a lossy WebP frame."""
    return b"\x30\1\0\x9d\1\x2a" + struct.pack("<HH", width, height) + bytes(60)


def bmp_file(
    width: int, height: int, bits: int = 24, compression: int = 0, body: bytes = bytes(100), palette: bytes = b""
) -> bytes:
    """A BMP with the usual header of 40 bytes."""
    palette = palette or (bytes(4 * 256) if bits == 8 else b"")
    header = struct.pack("<IIIHHIIIIII", 40, width, height, 1, bits, compression, len(body), 0, 0, 0, 0)
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<III", offset + len(body), 0, offset) + header + palette + body


def bmp_core(width: int, height: int) -> bytes:
    """A BMP with the oldest header, of 12 bytes."""
    header = struct.pack("<IHHHH", 12, width, height, 1, 24)
    return b"BM" + struct.pack("<III", 126, 0, 26) + header + bytes(100)


def tiff_file(
    width: int, height: int, extra: list[tuple[int, int, int, int]] | None = None, following_body: bytes = b""
) -> bytes:
    """A grey TIFF in which the extra tags replace the usual ones; what follows stands at byte 8."""
    tags = {
        256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
        273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, 64),
    }  # fmt: skip
    tags |= {tag: (kind, count, value) for tag, kind, count, value in extra or []}
    body = following_body or bytes(64)
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    following = 8 if following_body else 0
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(body))
        + body
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", following)
    )


def overlapping_tags(count: int, body: bytes = b"") -> bytes:
    """A tag directory in which every value is the whole of what stands before it."""
    size = max(len(body), 2 + 12 * count)
    entries = b"".join(struct.pack("<HHII", 40_000 + n & 0xFFFF, 7, size, 8) for n in range(count))
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", count) + entries + bytes(4)
