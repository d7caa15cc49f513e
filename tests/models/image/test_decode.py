"""The one decode: sizes, colours, turns, limits, and what becomes of broken files."""

import hashlib
import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from models.errors import BadImage, BadParameter, TooLarge, TooManyPixels
from models.image.decode import DEFAULT_LIMITS, Limits, content_hash, decode, inspect, thumbnail, to_png
from models.image.header import ImageInfo
from tests.support import bombs, images

UNUSUAL = images.unusual()


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def _plain(data: bytes, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """What Pillow alone makes of it, at leisure."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    if size is not None:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)


@pytest.mark.parametrize("name", images.FORMATS)
def test_every_format_at_full_size(name: str) -> None:
    picture = images.photograph(48, 80)
    pixels = decode(images.encode(picture, name))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous
    assert _difference(pixels, picture) < {"JPEG": 5, "WEBP": 6, "GIF": 9}.get(name, 0.01)


@pytest.mark.parametrize("name", images.FORMATS)
@pytest.mark.parametrize("size", [(32, 32), (17, 61), (224, 160), (300, 500)])
def test_every_format_is_stretched_to_height_and_width(name: str, size: tuple[int, int]) -> None:
    data = images.encode(images.photograph(120, 200), name)
    assert _difference(decode(data, size), _plain(data, size)) < 2


@pytest.mark.parametrize("size", [(480, 640), (241, 321), (240, 320), (224, 224), (100, 30), (60, 80), (8, 8)])
def test_a_jpeg_is_shrunk_while_decoding_and_looks_the_same(size: tuple[int, int]) -> None:
    data = images.jpeg(481, 643)
    assert _difference(decode(data, size), _plain(data, size)) < 1.5


def test_a_jpeg_of_odd_size_is_not_shifted_by_its_scale() -> None:
    # 8 divides neither side: the small decode covers a fraction of a pixel too much.
    ramp = np.broadcast_to(np.linspace(0, 255, 1001)[None, :, None], (333, 1001, 3)).astype(np.uint8)
    pixels = decode(images.encode(ramp, quality=95), (33, 100))
    assert _difference(pixels, _plain(images.encode(ramp, quality=95), (33, 100))) < 0.5


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [None, (20, 30)])
def test_exif_orientation(name: str, orientation: int, size: tuple[int, int] | None) -> None:
    data = images.turned(orientation, images.quarters(48, 64), name)
    expected = _plain(data, size)
    assert _difference(decode(data, size), expected) < 3
    assert inspect(data).shape == ((64, 48) if orientation >= 5 else (48, 64))


def test_orientation_six_stands_upright() -> None:
    pixels = decode(images.turned(6, images.quarters(64, 96)))
    assert pixels.shape == (96, 64, 3)
    # What was stored at the lower left is seen at the upper left.
    assert pixels[10, 10, 2] > 180 > pixels[10, 10, 0]


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_orientations_that_do_not_exist_are_upright(orientation: int) -> None:
    assert inspect(images.turned(orientation, images.quarters())).orientation == 1


@pytest.mark.parametrize("name", sorted(UNUSUAL))
def test_unusual_images(name: str) -> None:
    info = inspect(UNUSUAL[name])
    assert decode(UNUSUAL[name]).shape == (*info.shape, 3)
    assert decode(UNUSUAL[name], (9, 7)).shape == (9, 7, 3)


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_only_the_first_frame_counts(name: str) -> None:
    data = images.animation(4, name)
    assert inspect(data) == ImageInfo(name, 32, 32, 4, parts=inspect(data).parts)
    assert _difference(decode(data), images.photograph(32, 32, seed=0)) < 12


@pytest.mark.parametrize("name", sorted(images.every_format() | UNUSUAL))
def test_a_file_cut_short_is_refused_or_whole_never_half(name: str) -> None:
    data = (images.every_format() | UNUSUAL)[name]
    whole = decode(data)
    for length in {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 12, len(data))}:
        try:
            pixels = decode(data[:length])
        except BadImage:
            continue
        assert (pixels == whole).all(), f"{length} of {len(data)} bytes"


@pytest.mark.parametrize("name", ["JPEG", "JPEG progressive"])
@pytest.mark.parametrize("share", [0.6, 0.8, 0.99])
def test_a_jpeg_cut_short_is_refused_at_every_scale(name: str, share: float) -> None:
    data = images.jpeg(400, 600, progressive=name != "JPEG")
    for size in (None, (200, 300), (50, 70)):
        with pytest.raises(BadImage):
            decode(images.truncated(data, share), size)


def test_a_careless_library_cannot_make_us_read_half_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(BadImage):
        decode(images.truncated(images.jpeg()))


def test_limits_are_held_to_the_last_unit() -> None:
    data = images.png(20, 30)
    decode(data, limits=Limits(max_bytes=len(data), max_pixels=600, max_frames=1))
    with pytest.raises(TooLarge, match="bytes"):
        decode(data, limits=Limits(max_bytes=len(data) - 1))
    with pytest.raises(TooManyPixels, match="30x20 = 600 pixels"):
        decode(data, limits=Limits(max_pixels=599))
    for name in ("GIF", "PNG", "WEBP", "TIFF"):
        movie = images.animation(4, name)
        decode(movie, limits=Limits(max_frames=4))
        with pytest.raises(TooManyPixels, match="3 frames"):
            decode(movie, limits=Limits(max_frames=3))


@pytest.mark.parametrize("name", ["max_bytes", "max_pixels", "max_frames"])
@pytest.mark.parametrize("value", [0, -1])
def test_impossible_limits_are_told(name: str, value: int) -> None:
    with pytest.raises(BadParameter, match=name):
        Limits(**{name: value})


def test_bombs_are_refused_before_pillow_opens_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Image, "open", opened)
    for name, data in (*bombs.too_many_pixels(), *bombs.too_many_frames()):
        with pytest.raises(TooManyPixels):
            decode(data)
        assert name
    with pytest.raises(TooLarge):
        decode(bytes(50_000_000))


def test_pillows_own_guard_gives_way_to_our_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(images.png()).shape == (64, 64, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode(images.png()).shape == (64, 64, 3)
    assert Image.MAX_IMAGE_PIXELS is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (images.EMPTY, "empty"),
        (images.TEXT, "text"),
        (images.HTML, "a web page"),
        (images.PDF, "a PDF document"),
        (b"<?xml version='1.0'?>\n<svg/>", "an SVG drawing"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"data:image/png;base64,iVBORw0KGgo=", "base64"),
        (b'--x\r\nContent-Disposition: form-data; name="image"\r\n', "multipart"),
        ("고양이".encode()[:-1], "text"),
        (b"RIFF\0\0\0\0WAVE", "sound"),
        (bytes(100), "not an image"),
        (b"\xff", "not an image"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, says: str) -> None:
    with pytest.raises(BadImage, match=says):
        decode(data)


def test_a_broken_image_says_nothing_of_our_insides() -> None:
    with pytest.raises(BadImage) as caught:
        decode(images.truncated(images.png()))
    assert "0x" not in caught.value.detail
    assert "cut short" in caught.value.detail
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-1, 5), (100_000, 100_000)])
def test_impossible_sizes_are_told(size: tuple[int, int]) -> None:
    with pytest.raises(BadParameter, match="size"):
        decode(images.png(), size)


def test_colours_survive_the_loss_of_metadata() -> None:
    picture = Image.fromarray(images.photograph())
    exif = Image.Exif()
    exif[0x010E] = "x" * 20_000
    plain = images.save(picture, quality=95)
    laden = images.save(picture, quality=95, exif=exif, icc_profile=bytes(100_000), comment=b"hello", dpi=(72, 72))
    assert (decode(laden) == decode(plain)).all()
    assert inspect(laden).parts is not None
    assert (decode(images.save(picture, "PNG", exif=exif, icc_profile=bytes(9))) == np.asarray(picture)).all()


def test_junk_between_jpeg_segments_is_passed_over() -> None:
    data = images.jpeg()
    littered = data[:2] + b"\xff" * 50 + data[2:20] + bytes(30) + b"\xff\xd0" + data[20:]
    assert (decode(littered) == decode(data)).all()


def test_a_phones_second_picture_is_ignored() -> None:
    # Multi-picture format: a whole JPEG behind the first, and a segment that points to it.
    first, second = images.jpeg(seed=1), images.jpeg(seed=2)
    pictures = images.save(
        Image.open(io.BytesIO(first)), "MPO", save_all=True, append_images=[Image.open(io.BytesIO(second))]
    )
    assert inspect(pictures).format == "JPEG"
    assert _difference(decode(pictures), decode(first)) < 5 < _difference(decode(pictures), decode(second))


def test_a_big_tiff_is_read() -> None:
    picture = images.photograph()
    data = images.encode(picture, "TIFF", big_tiff=True)
    assert data[2:4] == b"+\0"
    assert (decode(data) == picture).all()


def test_a_bitmap_from_top_to_bottom() -> None:
    rows = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    pixels = decode(bombs.bmp_file(4, 2**32 - 4, body=rows[:, :, ::-1].tobytes()))
    assert (pixels == rows).all()


def test_a_run_length_bitmap() -> None:
    body = b"".join(struct.pack("BBBB", 4, row, 0, 0) for row in range(3)) + b"\0\1"
    palette = b"".join(bytes([value, value, value, 0]) for value in range(256))
    data = bombs.bmp_file(4, 3, bits=8, compression=1, body=body, palette=palette)
    assert decode(data)[:, :, 0].tolist() == [[2] * 4, [1] * 4, [0] * 4]


def test_many_threads_get_their_own_pictures() -> None:
    pictures = [images.encode(images.photograph(90, 120, seed), name) for seed, name in enumerate(images.FORMATS * 4)]
    expected = [decode(data, (56, 64)) for data in pictures]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            results = pool.map(lambda data: decode(data, (56, 64)), pictures)
            assert all((one == other).all() for one, other in zip(results, expected, strict=True))


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [(100, 200, (40, 80, 3)), (200, 100, (80, 40, 3)), (30, 20, (30, 20, 3)), (1000, 1, (80, 1, 3))],
)
def test_a_thumbnail_keeps_the_proportions(height: int, width: int, shape: tuple[int, ...]) -> None:
    assert thumbnail(images.png(height, width), 80).shape == shape


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_thumbnail_is_upright(format: str) -> None:
    pixels = thumbnail(images.turned(6, images.quarters(40, 80), format), 40)
    assert pixels.shape == (40, 20, 3)
    assert pixels[5, 5, 2] > 180


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_png_and_back(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    back = np.asarray(Image.open(io.BytesIO(to_png(array))))
    assert (back == array).all()


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 2), np.uint8)])
def test_what_is_no_picture_is_not_written(array: NDArray[Any]) -> None:
    with pytest.raises(BadParameter, match="no image"):
        to_png(array)


def test_the_content_hash_is_of_the_bytes() -> None:
    assert content_hash(b"cat") == hashlib.sha256(b"cat").hexdigest()


def test_the_default_limits_are_those_of_the_contract() -> None:
    assert (DEFAULT_LIMITS.max_bytes, DEFAULT_LIMITS.max_pixels) == (20_000_000, 50_000_000)
