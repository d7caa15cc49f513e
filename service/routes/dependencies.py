"""What the routes share: how a model is chosen, how an image arrives, and how an answer is written."""

from typing import Annotated, Any, Final, cast

import orjson
from fastapi import Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from models.card import VariantName
from models.errors import BadParameter
from models.image.decode import Limits, inspect
from service.asgi.context import request_id_of, state_of
from service.inference.pipeline import Pipeline
from service.inference.served_model import ServedModel
from service.routes.uploads import read_images

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


class ArrayResponse(JSONResponse):
    """JSON that may hold numpy arrays."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def pipeline_of(request: Request) -> Pipeline:
    """The service's pipeline, put on the application when it starts."""
    return cast(Pipeline, request.app.state.pipeline)


def limits_of(request: Request) -> Limits:
    """The limits on images."""
    return cast(Limits, request.app.state.limits)


def find_model(request: Request, model: str | None, version: str | None, variant: str | None) -> ServedModel:
    """The model that a request chooses, noted for the metrics and the access log."""
    served = pipeline_of(request).find(model, version, variant, request_id_of(request))
    state_of(request)["model"] = served.metric_labels
    return served


async def chosen_model(request: Request, chosen: Annotated[ModelQuery, Query()]) -> ServedModel:
    """The model that the query chooses."""
    return find_model(request, chosen.model, chosen.version, chosen.variant)


async def read_image(request: Request) -> bytes:
    """The only image of a request; ``BadParameter`` where there are several.

    Not a FastAPI dependency, which would read the body before the other parameters are checked.
    """
    files = await read_images(request, pipeline_of(request).max_images)
    if len(files) != 1:
        raise BadParameter(f"The request has {len(files)} images. Send exactly one to this route.")
    return files[0]


ChosenModel = Annotated[ServedModel, Depends(chosen_model)]


def pixels_of(data: bytes, limits: Limits) -> int:
    """Pixels of an image file, by its header."""
    info = inspect(data, limits)
    return info.width * info.height


def answer_head(served: ServedModel, request_id: str) -> dict[str, Any]:
    """What every answer of a model has: which model it was, and the request's id."""
    return {**served.identity, "request_id": request_id}
