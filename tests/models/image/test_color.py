"""Deep, transparent, and otherwise odd pixels as 8-bit RGB."""

import warnings

import numpy as np
import pytest
from PIL import Image

from models.image.decode import decode
from tests.support import images


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_sixteen_bits_are_scaled_not_clipped(samples: int) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    colour = np.stack([ramp, ramp[::-1], ramp.T], axis=2)
    full = np.full((64, 64, 1), 65535, np.uint16)
    values = {1: ramp, 2: np.concatenate([ramp[:, :, None], full], 2), 3: colour}.get(
        samples, np.concatenate([colour, full], 2)
    )
    expected = np.broadcast_to(ramp[:, :, None], (64, 64, 3)) if samples < 3 else colour
    assert np.abs(decode(images.deep_png(values)).astype(int) - (expected >> 8)).max() <= 1


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_sixteen_bit_tiff_in_either_byte_order(order: str) -> None:
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(order)
    mode = "I;16" if order == "<u2" else "I;16B"
    data = images.save(Image.frombytes(mode, (32, 32), ramp.tobytes()), "TIFF")
    assert (decode(data)[:, :, 0] == ramp >> 8).all()


def test_cmyk_as_adobe_writes_it() -> None:
    picture = images.photograph()
    data = images.save(Image.fromarray(picture).convert("CMYK"), quality=95)
    assert b"Adobe" in data
    assert np.abs(decode(data).astype(float) - picture).mean() < 5


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("size", [None, (16, 16)])
def test_the_transparent_is_laid_on_white(name: str, size: tuple[int, int] | None) -> None:
    values = np.zeros((32, 32, 4), np.uint8)
    values[:, 16:] = (200, 100, 0, 255)
    values[:16, 16:, 3] = 128
    options = {"lossless": True, "exact": True} if name == "WEBP" else {}
    pixels = decode(images.encode(values, name, **options), size).astype(int)
    half, edge = pixels.shape[0] // 2, pixels.shape[0] - 1
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert np.abs(pixels[edge, edge] - [200, 100, 0]).max() <= 1
    assert np.abs(pixels[0, edge] - [227, 177, 127]).max() <= 1
    # The invisible black must not bleed into its neighbours.
    assert (pixels[half + 2] >= [200, 100, 0] - np.ones(3)).all()


def test_a_clear_palette_entry_is_white() -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 250, 0, 0])
    picture.paste(0, (0, 0, 4, 8))
    for name in ("PNG", "GIF"):
        pixels = decode(images.save(picture, name, transparency=0))
        assert pixels[0, 0].tolist() == [255, 255, 255]
        assert pixels[0, 7].tolist() == [250, 0, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 32768.0, 65535.0], [0, 128, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([-4e9, 0.0, 4e9], [0, 128, 255]),
        ([-3.4e38, 0.0, 3.4e38], [0, 128, 255]),
        ([np.nan, 0.5, 1.0], [0, 128, 255]),
        ([np.nan, 1000.0, 71000.0], [0, 0, 255]),
        ([-np.inf, 0.5, np.inf], [0, 128, 255]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
        ([-5.0, -5.0, -5.0], [0, 0, 0]),
        ([1e-45, 1e-40, 0.0], [0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_their_own_range(values: list[float], expected: list[int]) -> None:
    data = images.encode(np.tile(np.array(values, np.float32), (3, 1)), "TIFF")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data)[1, :, 0].tolist() == expected


def test_a_signalling_nan_is_black_and_silent() -> None:
    values = np.array([[0x7F800001, 0x3F800000, 0]], np.uint32).view(np.float32)
    data = images.save(Image.frombytes("F", (3, 1), values.tobytes()), "TIFF")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data)[0, :, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 100, 255], [0, 100, 255]), ([0, 32896, 65535], [0, 128, 255]), ([-100, 0, 100], [0, 128, 255])],
)
def test_whole_numbers_are_scaled_by_their_own_range(values: list[int], expected: list[int]) -> None:
    data = images.encode(np.tile(np.array(values, np.int32), (3, 1)), "TIFF")
    assert decode(data)[1, :, 0].tolist() == expected
