"""The pooled feature vector of an image: what the network knows of it before it decides on a label."""

from typing import Annotated

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from service.asgi.problem import request_id_of
from service.ports import Floats, gateway_of
from service.routes.dependencies import IMAGE_BODY, ModelQuery, deadline_of, find_model, one_image
from service.routes.uploads import read_images


class EmbedAnswer(BaseModel):
    """A vector to search and compare images with."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    version: str
    variant: str
    size: int
    normalized: bool
    """Whether the vector was divided by its length."""
    embedding: list[float]
    request_id: str


router = APIRouter(tags=["look inside"])


@router.post(
    "/v1/embed",
    summary="The feature vector of an image",
    response_model=EmbedAnswer,
    openapi_extra=IMAGE_BODY,
)
async def post_embed(
    request: Request,
    chosen: Annotated[ModelQuery, Query()],
    normalize: Annotated[bool, Query(description="Divide the vector by its length.")] = False,
) -> Response:
    """The averages of the feature maps, as the head sees them; divided by its length with ``normalize``."""
    gateway = gateway_of(request)
    data = one_image(await read_images(request, gateway.max_images))
    served = find_model(request, chosen)
    vector = (await gateway.answer(served, data, ("logits", "embedding"), deadline=deadline_of(request))).outputs[
        "embedding"
    ]
    answer = {
        "model": served.name,
        "version": served.version,
        "variant": served.variant,
        "size": vector.size,
        "normalized": normalize,
        "embedding": normalized(vector) if normalize else np.ascontiguousarray(vector),
        "request_id": request_id_of(request),
    }
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def normalized(vector: Floats) -> Floats:
    """The vector divided by its Euclidean length; a vector of zeros stays as it is."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / length).astype(np.float32) if length > 0 else vector
