"""Real images for every test: photograph-like arrays, encoded in each format, whole and broken.

Everything is drawn from a seed, so that the same call gives the same bytes.
"""

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MEDIA_TYPES = {name: f"image/{name.lower()}" for name in FORMATS}

EMPTY = b""
TEXT = b"This is no image, only a line of text.\n"
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"


def photograph(height: int = 64, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """Something like a photograph ``(height, width, 3)``: a soft gradient, blobs, some grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][:, :, :, None]
    picture = rng.uniform(40, 200, 3) + (x * rng.uniform(-90, 90, 3)) + (y * rng.uniform(-90, 90, 3))
    for _ in range(6):
        cy, cx, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.25)
        blob = 1 / (1 + np.exp(np.clip((np.hypot(y - cy, x - cx) - radius) * 60, -50, 50)))
        picture = picture + blob * rng.uniform(-120, 120, 3)
    picture = picture + rng.normal(0, 4, (height, width, 1))
    pixels: NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)
    return pixels


def quarters(height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    """Red, green, blue and grey quarters, read like a page: shows at once how a picture was turned."""
    picture = np.empty((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:] = (230, 20, 20), (20, 200, 20)
    picture[top:, :left], picture[top:, left:] = (20, 20, 220), (120, 120, 120)
    return picture


def encode(array: NDArray[Any], format: str = "JPEG", **options: Any) -> bytes:
    """The array as a file of that format; options go to Pillow's ``save``."""
    return save(Image.fromarray(array), format, **options)


def save(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """A Pillow image as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def jpeg(height: int = 64, width: int = 64, seed: int = 0, quality: int = 90, **options: Any) -> bytes:
    """A photograph-like JPEG."""
    return encode(photograph(height, width, seed), "JPEG", quality=quality, **options)


def png(height: int = 64, width: int = 64, seed: int = 0, **options: Any) -> bytes:
    """A photograph-like PNG."""
    return encode(photograph(height, width, seed), "PNG", **options)


def every_format(height: int = 64, width: int = 64, seed: int = 0) -> dict[str, bytes]:
    """The same photograph in each of the six formats."""
    return {name: encode(photograph(height, width, seed), name) for name in FORMATS}


def turned(orientation: int, array: NDArray[np.uint8], format: str = "JPEG") -> bytes:
    """The array as stored, with an EXIF orientation from 1 to 8 beside it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(array, format, exif=exif, **({"quality": 95} if format == "JPEG" else {}))


def animation(frames: int = 3, format: str = "GIF", size: int = 32) -> bytes:
    """Pictures one after the other, each of its own seed: GIF, PNG, WEBP, or the pages of a TIFF."""
    pictures = [Image.fromarray(photograph(size, size, seed)) for seed in range(frames)]
    return save(pictures[0], format, save_all=True, append_images=pictures[1:])


def deep_png(values: NDArray[np.uint16]) -> bytes:
    """A 16-bit PNG: grey ``(h, w)``, grey with alpha ``(h, w, 2)``, RGB or RGBA ``(h, w, 3 or 4)``."""
    samples = 1 if values.ndim == 2 else values.shape[2]
    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[samples], 0, 0, 0)
    return png_file([(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")])


def unusual() -> dict[str, bytes]:
    """Whole images of every odd kind that the six formats allow, each to be decoded."""
    picture = Image.fromarray(photograph(40, 48))
    grey = np.asarray(picture.convert("L"))
    clear = picture.copy()
    clear.putalpha(Image.fromarray(np.linspace(0, 255, 40 * 48).reshape(40, 48).astype(np.uint8)))
    floats = (grey / 255).astype(np.float32)
    floats[:4, :4] = np.nan
    deep = grey.astype(np.uint16) * 257
    colour_deep = np.asarray(picture).astype(np.uint16) * 257
    files = {
        "JPEG progressive": save(picture, progressive=True),
        "JPEG grey": save(picture.convert("L")),
        "JPEG CMYK, Adobe": save(picture.convert("CMYK")),
        "JPEG 4:1:1": save(picture, subsampling="4:1:1"),
        "JPEG with restart markers": save(picture, restart_marker_blocks=1),
        "PNG palette": save(picture.quantize(16), "PNG"),
        "PNG palette, clear": save(clear.quantize(16), "PNG"),
        "PNG one bit": save(picture.convert("1"), "PNG"),
        "PNG grey with alpha": save(clear.convert("LA"), "PNG"),
        "PNG with alpha": save(clear, "PNG"),
        "PNG with a clear colour": save(picture, "PNG", transparency=(0, 0, 0)),
        "PNG 16-bit grey": deep_png(deep),
        "PNG 16-bit grey with alpha": deep_png(np.stack([deep, deep], 2)),
        "PNG 16-bit colour": deep_png(colour_deep),
        "PNG 16-bit colour with alpha": deep_png(np.concatenate([colour_deep, deep[:, :, None]], 2)),
        "PNG animated": animation(3, "PNG"),
        "WEBP lossless": save(picture, "WEBP", lossless=True),
        "WEBP with alpha": save(clear, "WEBP"),
        "WEBP animated": animation(3, "WEBP"),
        "GIF clear": save(clear, "GIF"),
        "GIF grey": save(picture.convert("L"), "GIF"),
        "GIF animated": animation(3, "GIF"),
        "BMP grey": save(picture.convert("L"), "BMP"),
        "BMP one bit": save(picture.convert("1"), "BMP"),
        "BMP with alpha": save(clear, "BMP"),
        "TIFF float with NaN": save(Image.fromarray(floats), "TIFF"),
        "TIFF 16-bit grey": save(Image.fromarray(deep), "TIFF"),
        "TIFF 32-bit": save(Image.fromarray(grey.astype(np.int32) * 1000), "TIFF"),
        "TIFF CMYK": save(picture.convert("CMYK"), "TIFF"),
        "TIFF Lab": save(picture.convert("LAB"), "TIFF"),
        "TIFF palette": save(picture.quantize(16), "TIFF"),
        "TIFF with alpha": save(clear, "TIFF"),
        "TIFF one bit, fax": save(picture.convert("1"), "TIFF", compression="group4"),
        "TIFF of three pages": animation(3, "TIFF"),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"):
        files[f"TIFF {compression}"] = save(picture, "TIFF", compression=compression)
    return files


def png_file(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A PNG from its chunks, each with its right checksum."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in chunks:
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body))]
    return b"".join(parts)


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A small PNG whose header promises that many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_file([(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")])


def heavy(side: int = 6000) -> bytes:
    """A picture that takes about a second to decode (at 6000 pixels): large, progressive, and legal."""
    out = io.BytesIO()
    Image.effect_noise((side, side), 60).convert("RGB").save(out, "JPEG", quality=60, progressive=True)
    return out.getvalue()


def truncated(data: bytes, share: float = 0.5) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * share)]


def flipped(data: bytes, seed: int, flips: int = 8) -> bytes:
    """The file with some bits turned over, anywhere in it."""
    rng = np.random.default_rng(seed)
    damaged = bytearray(data)
    for place in rng.integers(0, len(data), flips):
        damaged[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(damaged)
