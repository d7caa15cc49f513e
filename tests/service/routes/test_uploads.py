import asyncio

import httpx
import pytest
from starlette.requests import Request

from models.errors import BadImage, BadParameter, UnsupportedMedia
from service.routes.uploads import read_images


def read(body=b"", kind=None, most=3):
    headers = [(b"content-type", kind.encode())] if kind else []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    return asyncio.run(read_images(request, most))


def form(*files, field="image"):
    request = httpx.Request("POST", "http://host/", files=[(field, (f"{n}.png", data)) for n, data in enumerate(files)])
    return request.read(), request.headers["content-type"]


@pytest.mark.parametrize("kind", [None, "image/png", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_raw_body_is_the_image(kind):
    assert read(b"bytes", kind) == [b"bytes"]


def test_a_form_has_one_or_several():
    assert read(*form(b"one")) == [b"one"]
    assert read(*form(b"one", b"", b"three")) == [b"one", b"", b"three"]


def test_what_is_refused():
    with pytest.raises(UnsupportedMedia, match="application/json"):
        read(b"{}", "application/json")
    with pytest.raises(BadImage, match="empty"):
        read(b"")
    with pytest.raises(BadParameter, match="at most 3"):
        read(*form(*[b"x"] * 4))
    with pytest.raises(BadParameter, match="field `image`"):
        read(*form(b"x", field="photo"))
    with pytest.raises(BadParameter, match="it has: image"):
        read(
            b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
        )
    with pytest.raises(BadImage, match="broken"):
        read(b"--other\r\n", "multipart/form-data; boundary=b")
