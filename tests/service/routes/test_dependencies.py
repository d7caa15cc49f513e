import pytest

from models.errors import BadParameter
from service.routes.dependencies import one_image


def test_one_image_is_taken():
    assert one_image([b"a"]) == b"a"


@pytest.mark.parametrize("files", [[], [b"a", b"b"]])
def test_none_or_several_are_refused(files):
    with pytest.raises(BadParameter, match=f"{len(files)} images"):
        one_image(files)
