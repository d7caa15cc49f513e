"""The image files of a request: its raw body, or its multipart fields ``image``."""

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from models.errors import BadImage, BadParameter, UnsupportedMedia

FIELD = "image"
_RAW = ("image/", "application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream")
"""curl sends ``--data-binary`` as a form unless told otherwise, so that type counts as raw."""


async def read_images(request: Request, most: int) -> list[bytes]:
    """The files' bytes, at least one, possibly empty.

    Raises ``UnsupportedMedia`` for another content type, ``BadParameter`` for none or more than ``most``
    fields ``image``, ``BadImage`` for a broken multipart body or an empty raw one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(request, most)
    if kind and not kind.startswith(_RAW):
        raise UnsupportedMedia(
            f"The content type {kind[:80]!r} is not read here. "
            "Send the image file itself as `image/*`, or multipart/form-data with the field `image`."
        )
    body = await request.body()
    if not body:
        raise BadImage("The body is empty. Send an image file, as in `curl --data-binary @cat.jpg`.")
    return [body]


async def _multipart(request: Request, most: int) -> list[bytes]:
    try:
        async with request.form(max_files=most + 1, max_fields=most + 32) as form:
            files = [value for key, value in form.multi_items() if key == FIELD and isinstance(value, UploadFile)]
            if not files:
                fields = ", ".join(sorted({key[:40] for key in form})[:8]) or "none"
                raise BadParameter(
                    f"The form has no file field `image` (it has: {fields}). Send it as in `curl -F image=@cat.jpg`."
                )
            if len(files) > most:
                raise BadParameter(f"The form has more than {most} images. Send at most {most} in one request.")
            return [await file.read() for file in files]
    except (HTTPException, MultiPartException) as error:
        if "Too many" in str(getattr(error, "detail", "") or getattr(error, "message", "")):
            raise BadParameter(f"The form has too many parts. Send at most {most} images in one request.") from None
        raise BadImage("The multipart body is broken. Send it as in `curl -F image=@cat.jpg`.") from None
