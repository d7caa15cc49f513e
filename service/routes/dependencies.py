"""What the routes that look inside a network share: how an image comes, and how a model is chosen."""

from collections.abc import Sequence
from typing import Any, Final, cast

from fastapi import Request
from pydantic import BaseModel, ConfigDict

from models.card import VariantName
from models.errors import BadParameter
from models.image.decode import Limits, inspect
from service.asgi import deadline
from service.asgi.middleware import scope_note
from service.asgi.problem import request_id_of
from service.ports import Served, gateway_of

_FILE: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
IMAGE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "An image file (JPEG, PNG, WebP, GIF, BMP, TIFF), or a multipart field `image`.",
        "content": {
            "image/*": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"image": _FILE}, "required": ["image"]}
            },
        },
    }
}


class ModelQuery(BaseModel):
    """Which model answers."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str | None = None
    """Name of a served model; default the service's own default."""
    version: str | None = None
    """A version of it; default the current one."""
    variant: VariantName | None = None
    """The accurate one or, where there is one, the fast one."""


def find_model(request: Request, chosen: ModelQuery) -> Served:
    """The model that a request chooses, noted for the log and the metrics."""
    served = gateway_of(request).find(chosen.model, chosen.version, chosen.variant, request_id_of(request))
    scope_note(request)["model"] = served.metric_labels
    return served


def limits_of(request: Request) -> Limits:
    """How large an image may be, as it is set."""
    return cast(Limits, request.app.state.limits)


def deadline_of(request: Request) -> float:
    """When the request is answered 504 (``time.monotonic``)."""
    return deadline.current(request.app.state.timeout)


def pixels_of(data: bytes, limits: Limits) -> int:
    """Pixels of an image file, by its header."""
    info = inspect(data, limits)
    return info.width * info.height


def one_image(files: Sequence[bytes]) -> bytes:
    """The only image of a request; ``BadParameter`` where there are several."""
    if len(files) != 1:
        raise BadParameter(f"The request has {len(files)} images. Send exactly one to this route.")
    return files[0]
