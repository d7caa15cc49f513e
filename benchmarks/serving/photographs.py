"""The photographs that are posted: real ones that scikit-learn ships, at 640x480 and at 12 megapixels."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

SIZES = {"640x480": (640, 480), "12MP": (4000, 3000)}
QUALITY = 88
_GRAIN = 4.0
"""Standard deviation of the noise that an enlarged photograph gets, so that it costs what a sensor's would."""


def write_photographs(folder: Path) -> dict[str, Path]:
    """JPEG files by size: ``flower.jpg`` of scikit-learn (vultilion, CC BY 2.0), cut to 4:3 and scaled."""
    picture = Image.fromarray(load_sample_image("flower.jpg"))
    width = picture.height * 4 // 3
    left = (picture.width - width) // 2
    picture = picture.crop((left, 0, left + width, picture.height))
    files = {}
    for name, size in SIZES.items():
        pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC), np.float32)
        if size[0] > picture.width * 2:
            pixels = pixels + np.random.default_rng(0).normal(0, _GRAIN, (*pixels.shape[:2], 1))
        out = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=QUALITY)
        files[name] = folder / f"{name}.jpg"
        files[name].write_bytes(out.getvalue())
    return files


def as_multipart(file: Path, field: str) -> tuple[Path, str]:
    """The file as a multipart body with one field, kept beside it, and the content type to send."""
    boundary = "photograph-boundary"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{file.name}"\r\n'
    body = head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    target = file.with_suffix(f".{field}.multipart")
    target.write_bytes(body)
    return target, f"multipart/form-data; boundary={boundary}"
