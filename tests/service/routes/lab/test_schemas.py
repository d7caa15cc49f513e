import json

import pytest

from models.errors import BadParameter
from service.routes.lab.schemas import parse_request


def test_a_request_is_read():
    asked = parse_request(json.dumps({"image": [[1, 2], [3, 4]], "kernel": [[1]]}).encode())
    assert asked.padding == "valid"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"kernel": [[1]]}', b'{"image": 3, "kernel": [[1]]}'])
def test_what_is_no_request_is_one_sentence(body):
    with pytest.raises(BadParameter):
        parse_request(body)
