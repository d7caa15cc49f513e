"""What TIFF and EXIF directories say; whole files are in test_headers.py and test_image.py."""

import pytest

from models.errors import BadImage
from models.image.decode import inspect
from tests.support.images import encode, photograph, turned


def test_size_and_orientation_come_from_the_directory():
    info = inspect(encode(photograph(20, 30), "TIFF"))
    assert (info.format, info.width, info.height) == ("TIFF", 30, 20)
    assert inspect(turned(6, photograph(20, 30))).orientation == 6


@pytest.mark.parametrize("data", [b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_a_directory_that_is_not_there_is_a_broken_image(data):
    with pytest.raises(BadImage):
        inspect(data)
