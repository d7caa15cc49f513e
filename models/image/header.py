"""Reads format, size, frames and orientation from an image's header, without decoding anything.

Pillow trusts the file, so the header is checked first: Pillow gets files whose size is within the limits, and of these
only the parts with pixels. Text, colour profiles, comments, EXIF and later frames, in which decompression bombs can be
hidden, are removed.

Every loop is bounded by the file's length and by ``MAX_PIECES`` steps.
"""

import re
import struct
from dataclasses import dataclass, field

from models.errors import BadImage, TooManyPixels
from models.image.tiff import MAX_PIECES, exif_orientation, read_tiff

Span = tuple[int, int]

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_JPEG_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]", re.DOTALL)
_JPEG_STANDALONE = frozenset([0x01, *range(0xD0, 0xD9)])
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = frozenset([0xC2, 0xC6, 0xCA, 0xCE])
_JPEG_USEFUL_APPS = frozenset([0xE0, 0xEE])
"""JFIF and Adobe: the two that determine the colours."""
_PNG_PIXELS = frozenset([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])
_MAX_SEGMENTS = 4_096
_MAX_JUNK = 65_536
"""Bytes between the segments of a JPEG, such as fill bytes."""
_MAX_SCANS = 1_000
_SCAN_BUDGET = 20
"""Scans times pixels of a progressive JPEG, as a multiple of the pixel limit (usual files have ten scans)."""
_MAX_GIF_BLOCKS = 200_000
"""The blocks of a GIF have at most 255 bytes, so it has more of them."""
_BMP_HEADERS = frozenset(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))
_MAX_RLE_PIXELS = 4_000_000
"""Pillow decodes run-length BMP in Python, about ten million pixels per second."""


@dataclass(frozen=True)
class ImageInfo:
    """What the header declares. Width and height are as stored, before the EXIF orientation is applied."""

    format: str
    """JPEG, PNG, WEBP, GIF, BMP or TIFF."""
    width: int
    height: int
    frames: int = 1
    """Counted up to one more than the limit."""
    orientation: int = 1
    """EXIF orientation, 1 to 8; always 1 for TIFF, which Pillow rotates itself."""
    parts: tuple[Span, ...] | None = field(default=None, repr=False)
    """The byte ranges with pixels; ``None`` for the whole file."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) after the EXIF orientation."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(data: bytes, max_pixels: int, max_frames: int) -> ImageInfo | None:
    """The header of one of the six formats, or ``None`` for anything else.

    Raises ``BadImage`` for a broken header, and ``TooManyPixels`` for one that would take too long to decode whatever
    its size.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data, max_pixels)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return _gif(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data, max_frames)
        if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return ImageInfo("TIFF", *read_tiff(data, max_pixels, max_frames))
        if data.startswith(b"BM") and data[14:18] in _BMP_HEADERS:
            return _bmp(data)
    except (struct.error, IndexError) as error:
        raise broken("ends inside its header") from error
    return None


def broken(what: str) -> BadImage:
    """The error for a file of a known format with a broken structure."""
    return BadImage(f"The image {what}. Save it again, or send the whole file.")


def _jpeg(data: bytes, max_pixels: int) -> ImageInfo:
    parts: list[Span] = [(0, 2)]
    size: tuple[int, int, int] | None = None
    progressive, orientation, position, junk = False, 0, 2, _MAX_JUNK
    for _ in range(_MAX_SEGMENTS):
        found = _JPEG_MARKER.search(data, position, position + junk + 2)
        if found is None or data[found.end() - 1] == 0xD9:
            raise broken("ends before its first scan")
        junk -= found.start() - position
        start, position = found.span()
        marker = data[position - 1]
        if marker in _JPEG_STANDALONE:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            raise broken("has a segment of impossible length")
        if marker in _JPEG_FRAMES:
            if size is not None:
                raise broken("declares its size twice")
            size, progressive = struct.unpack_from(">HHB", data, position + 3), marker in _JPEG_PROGRESSIVE
        elif marker == 0xE1 and not orientation and data[position + 2 : position + 8] == b"Exif\0\0":
            orientation = exif_orientation(data[position + 2 : position + length])
        elif marker == 0xDA:
            return _jpeg_at_scan(data, start, size, progressive, orientation, parts, max_pixels)
        position += length
        if marker in _JPEG_USEFUL_APPS or not (marker >= 0xE0):
            _extend(parts, start, position)
    raise broken(f"has more than {_MAX_SEGMENTS:,} pieces")


def _jpeg_at_scan(
    data: bytes,
    start: int,
    size: tuple[int, int, int] | None,
    progressive: bool,
    orientation: int,
    parts: list[Span],
    max_pixels: int,
) -> ImageInfo:
    if size is None:
        raise broken("has no size")
    height, width, components = size
    if width * height <= max_pixels and (progressive or data[start + 4] < components):
        allowed = min(_MAX_SCANS, _SCAN_BUDGET * max_pixels // max(1, width * height))
        if _jpeg_scans(data, start, allowed) > allowed:
            raise TooManyPixels(
                f"The JPEG has more than {allowed} scans of its {width}x{height} pixels. "
                "Save it again as an ordinary (baseline) JPEG."
            )
    _extend(parts, start, len(data))
    return ImageInfo("JPEG", width, height, 1, orientation or 1, _unless_whole(parts, data))


def _jpeg_scans(data: bytes, start: int, allowed: int) -> int:
    """The number of scans; counted exactly only where a cheap upper bound is over ``allowed``."""
    bound = data.count(b"\xff\xda", start)
    if bound <= allowed:
        return bound
    scans, position = 1, start + 2
    for _ in range(MAX_PIECES):
        position += int.from_bytes(data[position : position + 2])
        found = _JPEG_AFTER_SCAN.search(data, position)
        if found is None or data[found.end() - 1] == 0xD9 or scans > allowed:
            return scans
        position = found.end()
        scans += data[position - 1] == 0xDA
    return allowed + 1


def _png(data: bytes) -> ImageInfo:
    if data[12:16] != b"IHDR":
        raise broken("does not begin with its size")
    width, height = struct.unpack_from(">II", data, 16)
    parts: list[Span] = [(0, 8)]
    frames, orientation, position = 1, 1, 8
    for _ in range(MAX_PIECES):
        if position + 8 > len(data):
            return ImageInfo("PNG", width, height, frames, orientation, _unless_whole(parts, data))
        (length,), kind = struct.unpack_from(">I", data, position), data[position + 4 : position + 8]
        end = position + 12 + length
        if kind in _PNG_PIXELS:
            _extend(parts, position, min(end, len(data)))
        elif kind == b"acTL" and length >= 4:
            frames = max(1, *struct.unpack_from(">I", data, position + 8))
        elif kind == b"eXIf":
            orientation = exif_orientation(data[position + 8 : min(end - 4, position + 8 + 0xFFFF)])
        position = len(data) if kind == b"IEND" else end
    raise broken(f"has more than {MAX_PIECES:,} pieces")


def _gif(data: bytes) -> ImageInfo:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _gif_palette(flags)
    parts: list[Span] = [(0, position)]
    frames = 0
    blocks = 0
    while position < len(data) and data[position] != 0x3B and blocks < _MAX_GIF_BLOCKS:
        start, kind = position, data[position]
        position += 1
        blocks += 1
        if kind == 0x2C:
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, position)
            position, more = _gif_blocks(data, position + 10 + _gif_palette(flags), _MAX_GIF_BLOCKS - blocks)
            frames, blocks = frames + 1, blocks + more
            if frames == 1:
                width, height = max(width, left + wide), max(height, top + high)
                _extend(parts, start, min(position, len(data)))
        elif kind == 0x21:
            control = data[position] == 0xF9
            position, more = _gif_blocks(data, position + 1, _MAX_GIF_BLOCKS - blocks)
            blocks += more
            if control and not frames:
                _extend(parts, start, min(position, len(data)))
    if not frames:
        raise broken("holds no frame")
    return ImageInfo("GIF", width, height, frames, 1, _unless_whole(parts, data))


def _gif_blocks(data: bytes, position: int, allowed: int) -> tuple[int, int]:
    """Where a chain of sub-blocks ends, and how many there were."""
    end = len(data)
    for count in range(allowed):
        if position >= end:
            return end, count
        length = data[position]
        position += length + 1
        if not length:
            return position, count
    raise broken(f"has more than {_MAX_GIF_BLOCKS:,} pieces")


def _gif_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp(data: bytes, max_frames: int) -> ImageInfo:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        raise broken("does not begin with its size")
    frames, orientation, position = 0, 1, 12
    for _ in range(MAX_PIECES):
        if position + 8 > len(data) or frames > max_frames:
            return ImageInfo("WEBP", width, height, max(1, frames), orientation)
        chunk, (length,) = data[position : position + 4], struct.unpack_from("<I", data, position + 4)
        frames += chunk == b"ANMF"
        if chunk == b"EXIF":
            orientation = exif_orientation(data[position + 8 : position + 8 + min(length, 0xFFFF)])
        position += 8 + length + (length & 1)
    raise broken(f"has more than {MAX_PIECES:,} pieces")


def _bmp(data: bytes) -> ImageInfo:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return ImageInfo("BMP", width, height)
    width, height, _, _, compression = struct.unpack_from("<IIHHI", data, 18)
    if height >= 0xFF000000:
        # A negative height: the rows are stored from top to bottom.
        height = 2**32 - height
    if compression in (1, 2) and (width * height > _MAX_RLE_PIXELS or width > 0xFFFF):
        raise TooManyPixels(
            f"The run-length BMP has {width}x{height} pixels and at most {_MAX_RLE_PIXELS:,} are read. Save it as PNG."
        )
    return ImageInfo("BMP", width, height)


def _extend(parts: list[Span], start: int, stop: int) -> None:
    """Add a range, joined to the last where they are adjacent."""
    if parts[-1][1] == start:
        parts[-1] = (parts[-1][0], stop)
    else:
        parts.append((start, stop))


def _unless_whole(parts: list[Span], data: bytes) -> tuple[Span, ...] | None:
    return None if parts == [(0, len(data))] else tuple(parts)
