"""Tag directories (IFDs) of TIFF files, and of the EXIF block in the other formats.

The entries of a directory (tag, type, count, place) may point anywhere, many to the same bytes, and to further
directories. So their sizes are added up before Pillow reads them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import BadImage, TooManyPixels

MAX_PIECES = 65_536
"""Most chunks, strips or tiles of a file."""
_MAX_TAGS = 4_096
_MAX_TAG_BYTES = 8_000_000
"""All values of a directory together, such as profiles, thumbnails and the table of strips."""

_WIDTH, _HEIGHT, _COMPRESSION, _STRIPS, _TILES = 256, 257, 259, 273, 324
_ORIENTATION, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 274, 277, 322, 323
_SUB_DIRECTORIES = (34665, 34853, 40965)
"""EXIF, GPS, interoperability: those that Pillow reads too."""
_MAX_SAMPLES = 6
"""Pillow's own limit: CMYK and two more."""
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_COMPRESSIONS = frozenset([1, 2, 3, 4, 5, 7, 8, 32773, 32946, 50000])
"""None, the three fax codes, LZW, JPEG, deflate (two numbers), PackBits, Zstandard."""


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    place: int
    """Where the entry's own value field lies in the file."""


@dataclass(frozen=True)
class _Tags:
    """How a file stores directories: byte order, and 32 or 64 bit."""

    data: bytes
    order: str
    big: bool

    def directory(self, offset: int) -> tuple[dict[int, _Entry], int]:
        """The entries at ``offset`` by tag, the first of each, and the place of the next directory."""
        count_format, entry_format, next_format = ("Q", "HHQQ", "Q") if self.big else ("H", "HHII", "I")
        if offset > len(self.data):
            raise struct.error("directory outside of the file")
        (count,) = struct.unpack_from(self.order + count_format, self.data, offset)
        if count > _MAX_TAGS:
            raise BadImage(f"The image has {count:,} tags. Save it again without its metadata.")
        start, size = offset + (8 if self.big else 2), 20 if self.big else 12
        entries: dict[int, _Entry] = {}
        for index in range(count):
            place = start + index * size
            tag, kind, length, _ = struct.unpack_from(self.order + entry_format, self.data, place)
            entries.setdefault(tag, _Entry(kind, length, place + (12 if self.big else 8)))
        (following,) = struct.unpack_from(self.order + next_format, self.data, start + count * size)
        return entries, following

    def following(self, offset: int) -> int:
        """The place of the directory after the one at ``offset``, without reading its entries."""
        if offset > len(self.data):
            raise struct.error("directory outside of the file")
        (count,) = struct.unpack_from(self.order + ("Q" if self.big else "H"), self.data, offset)
        place = offset + (8 + 20 * count if self.big else 2 + 12 * count)
        if place > len(self.data):
            raise struct.error("directory outside of the file")
        (following,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), self.data, place)
        return int(following)

    def number(self, entry: _Entry | None) -> int | None:
        """The entry's value where it is a single integer."""
        if entry is None or entry.count != 1 or entry.kind not in _INTEGERS:
            return None
        if entry.kind == 16 and not self.big:
            return None
        return int(struct.unpack_from(self.order + _INTEGERS[entry.kind], self.data, entry.place)[0])


def read_tiff(data: bytes, max_pixels: int, max_frames: int) -> tuple[int, int, int]:
    """(width, height, frames) of the first image in a TIFF file, frames up to one over the limit.

    Raises ``BadImage`` or ``TooManyPixels`` for a directory that needs more memory than any image, and
    ``struct.error`` for one outside of the file.
    """
    big = data[2:4] in (b"+\0", b"\0+")
    tags = _Tags(data, "<" if data[:1] == b"I" else ">", big)
    (offset,) = struct.unpack_from(tags.order + ("Q" if big else "I"), data, 8 if big else 4)
    if offset < 8:
        raise struct.error("directory inside of the header")
    entries, following = tags.directory(offset)
    _check_directories(tags, entries)
    _check_layout(tags, entries, max_pixels)
    width, height = tags.number(entries.get(_WIDTH)), tags.number(entries.get(_HEIGHT))
    if width is None or height is None:
        raise BadImage("The TIFF does not say how large it is. Save it again.")
    if tags.number(entries.get(_ORIENTATION)) in (5, 6, 7, 8):
        # Pillow rotates a TIFF itself, and gives its size after that.
        width, height = height, width
    return width, height, 1 + sum(1 for _ in _further(tags, offset, following, max_frames))


def exif_orientation(block: bytes) -> int:
    """1 to 8 from an EXIF block, with or without its ``Exif`` prefix; 1 (upright) where it is invalid."""
    block = block.removeprefix(b"Exif\0\0")
    try:
        if block[:4] not in (b"II*\0", b"MM\0*"):
            return 1
        tags = _Tags(block, "<" if block[:1] == b"I" else ">", False)
        (offset,) = struct.unpack_from(tags.order + "I", block, 4)
        entries, _ = tags.directory(offset)
        turn = tags.number(entries.get(_ORIENTATION))
    except (struct.error, BadImage):
        return 1
    return turn if turn is not None and 1 <= turn <= 8 else 1


def _further(tags: _Tags, first: int, following: int, limit: int) -> Iterator[int]:
    """The places of the directories after the first, at most ``limit``, each once."""
    seen = {first}
    while following and following not in seen and len(seen) <= limit:
        seen.add(following)
        yield following
        try:
            following = tags.following(following)
        except struct.error:
            return


def _check_directories(tags: _Tags, entries: dict[int, _Entry]) -> None:
    """Refuse values that are larger together than the metadata of any image, sub-directories included."""
    waiting, seen = [entries], set[int]()
    total = 0
    while waiting:
        current = waiting.pop()
        total += sum(entry.count * _TYPE_SIZES.get(entry.kind, 0) for entry in current.values())
        if total > _MAX_TAG_BYTES:
            raise BadImage("The image carries too much metadata. Save it again without it.")
        for tag in _SUB_DIRECTORIES:
            offset = tags.number(current.get(tag))
            if offset is not None and offset not in seen:
                seen.add(offset)
                waiting.append(tags.directory(offset)[0])


def _check_layout(tags: _Tags, entries: dict[int, _Entry], max_pixels: int) -> None:
    """Refuse what would make libtiff allocate far more than the image's own pixels."""
    for tag in (_STRIPS, _TILES):
        if tag in entries and entries[tag].count > MAX_PIECES:
            raise BadImage(f"The image has more than {MAX_PIECES:,} strips or tiles. Save it again.")
    tile = [tags.number(entries.get(tag)) or 0 for tag in (_TILE_WIDTH, _TILE_HEIGHT)]
    if tile[0] * tile[1] > max_pixels:
        raise TooManyPixels(f"The image has tiles of {tile[0]}x{tile[1]} pixels. Save it again with strips.")
    if (tags.number(entries.get(_SAMPLES)) or 1) > _MAX_SAMPLES:
        raise BadImage(f"The TIFF has more than {_MAX_SAMPLES} channels. Send it as RGB or grey.")
    compression = tags.number(entries.get(_COMPRESSION)) or 1
    if compression not in _COMPRESSIONS:
        raise BadImage(
            f"The TIFF's compression is not supported (number {compression}). "
            "Save it with LZW, deflate, or no compression."
        )
