"""Drawn shapes in class folders with Korean names: data that a small network learns in seconds."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CIRCLE, SQUARE, TRIANGLE = "원", "네모", "세모"


def draw(kind: str, seed: int, side: int = 48) -> Image.Image:
    """One light shape somewhere on a dark ground."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), tuple(int(v) for v in rng.integers(0, 60, 3)))
    x, y, radius = (int(v * side) for v in (*rng.uniform(0.4, 0.6, 2), rng.uniform(0.2, 0.35)))
    colour = tuple(int(v) for v in rng.integers(180, 255, 3))
    pen, box = ImageDraw.Draw(image), (x - radius, y - radius, x + radius, y + radius)
    if kind == CIRCLE:
        pen.ellipse(box, fill=colour)
    elif kind == SQUARE:
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    return image


def shapes_folder(root: Path, counts: dict[str, int], *, broken: bool = False) -> Path:
    """Class folders of drawn shapes; ``broken`` adds a file that is no image."""
    for number, (kind, count) in enumerate(counts.items()):
        (root / kind).mkdir(parents=True)
        for i in range(count):
            draw(kind, 1000 * number + i).save(root / kind / f"그림 {i}.png")
    if broken:
        (root / next(iter(counts)) / "깨진 파일.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return root
