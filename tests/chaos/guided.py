"""The decode under atheris, which watches the branches of our code: ``python -m tests.chaos.guided -runs=N FOLDER``."""

import sys

import atheris

with atheris.instrument_imports(include=["models"]):
    from models.errors import CatseyeError
    from models.image.decode import Limits, decode

LIMITS = Limits(max_pixels=200_000, max_frames=50)


def one(data: bytes) -> None:
    """Anything but an array or an error of ours ends the run."""
    try:
        decode(data, (16, 16), LIMITS)
    except CatseyeError as error:
        if not 400 <= error.status < 500:
            raise


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
