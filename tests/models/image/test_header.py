"""What a file promises, read from its bytes: format, size, frames, and the parts worth handing on."""

import struct

import pytest

from models.errors import BadImage, TooManyPixels
from models.image.decode import decode
from models.image.header import ImageInfo, read_header
from models.image.tiff import exif_orientation
from tests.support import bombs, images

PIXELS, FRAMES = 50_000_000, 1_000


def _read(data: bytes) -> ImageInfo:
    info = read_header(data, PIXELS, FRAMES)
    assert info is not None
    return info


@pytest.mark.parametrize("name", images.FORMATS)
def test_format_and_size(name: str) -> None:
    info = _read(images.encode(images.photograph(37, 53), name))
    assert (info.format, info.width, info.height, info.frames, info.orientation) == (name, 53, 37, 1, 1)
    assert info.shape == (37, 53)


@pytest.mark.parametrize(
    "data", [b"", b"B", b"BMW builds cars", images.TEXT, images.PDF, bytes(99), b"RIFF\0\0\0\0WAVE"]
)
def test_anything_else_is_none(data: bytes) -> None:
    assert read_header(data, PIXELS, FRAMES) is None


@pytest.mark.parametrize("name", ["PNG", "WEBP", "BMP", "TIFF"])
def test_a_file_without_trimmings_is_handed_on_whole(name: str) -> None:
    assert _read(images.encode(images.photograph(), name)).parts is None


def test_only_pixels_are_handed_on() -> None:
    secret = b"a secret place"
    photo = images.jpeg(comment=secret, icc_profile=secret * 9)
    drawing = images.png()
    text = images.png_file([(b"tEXt", b"a\0" + secret), (b"zTXt", b"b\0\0x")])[8:]
    movie = images.animation(3, "GIF")
    for data in (photo, drawing[:33] + text + drawing[33:-12] + text + drawing[-12:], movie):
        parts = _read(data).parts
        assert parts is not None
        kept = b"".join(data[start:stop] for start, stop in parts)
        assert secret not in kept
        assert len(kept) < len(data)
        assert (decode(kept) == decode(data)).all()


def test_a_video_behind_a_photograph_is_not_taken_for_scans() -> None:
    # "Motion photos" carry one; any two of its bytes may look like the start of a scan.
    photo = images.jpeg(progressive=True)
    assert (decode(photo + b"\xff\xda\0\x08" * 5_000) == decode(photo)).all()


def test_a_progressive_jpeg_may_have_twenty_scans_of_the_pixel_limit() -> None:
    data = bombs.many_scans(30, side=500)
    assert read_header(data, 500 * 500 * 2, FRAMES) is not None
    with pytest.raises(TooManyPixels, match="more than 20 scans"):
        read_header(data, 500 * 500, FRAMES)


def test_a_gif_is_as_large_as_its_first_frame_makes_it() -> None:
    assert _read(bombs.gif_file(4, 4, bombs.gif_frame(2, 3, 10, 20))).shape == (23, 12)


def test_frames_are_counted_a_little_beyond_the_limit() -> None:
    for name in ("GIF", "PNG", "WEBP", "TIFF"):
        assert _read(images.animation(5, name)).frames == 5
        info = read_header(images.animation(5, name), PIXELS, 3)
        assert info is not None
        assert info.frames > 3


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("kind", "value"), [(1, "B3x"), (3, "H2x"), (4, "I")])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_orientation_in_either_byte_order(order: str, kind: int, value: str, prefix: bytes) -> None:
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHI" + value, 0x0112, kind, 1, 6)
    block = mark + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)
    assert exif_orientation(prefix + block) == 6


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff" + bytes(99),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x0112, 2, 1, 6) + bytes(4),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x0112, 3, 2, 6) + bytes(4),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x0112, 3, 1, 77) + bytes(4),
        images.TEXT,
    ],
)
def test_useless_exif_is_upright(block: bytes) -> None:
    assert exif_orientation(block) == 1


def test_a_photograph_with_useless_exif_is_still_read() -> None:
    photo = images.jpeg()
    littered = photo[:2] + bombs.segment(0xE1, b"Exif\0\0" + bytes(500)) + photo[2:]
    assert (decode(littered) == decode(photo)).all()


def test_metadata_never_decide_the_size() -> None:
    for name, data in bombs.too_much_metadata():
        refusal, info = None, None
        try:
            info = _read(data)
        except BadImage as error:
            refusal = error
        assert (info is None) != (refusal is None), name
        assert info is None or max(info.shape) <= 64, name
