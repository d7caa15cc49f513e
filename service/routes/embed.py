"""``POST /v1/embed``: the pooled feature vector of an image, which the classifier's head gets."""

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from models.arrays import Floats
from service.asgi.context import deadline_of, request_id_of
from service.routes.dependencies import IMAGE_BODY, ArrayResponse, ChosenModel, answer_head, pipeline_of, read_image
from service.routes.schemas import ModelAnswer


class EmbedAnswer(ModelAnswer):
    """A vector to search and compare images with."""

    size: int
    normalized: bool
    """Whether the vector was divided by its length."""
    embedding: list[float]


router = APIRouter(tags=["look inside"])


@router.post(
    "/v1/embed",
    summary="The feature vector of an image",
    response_model=EmbedAnswer,
    openapi_extra=IMAGE_BODY,
)
async def post_embed(
    request: Request,
    served: ChosenModel,
    normalize: Annotated[bool, Query(description="Divide the vector by its length.")] = False,
) -> Response:
    """The averages of the feature maps, as the head sees them; divided by its length with ``normalize``."""
    image = await read_image(request)
    answer = await pipeline_of(request).answer(served, image, ("logits", "embedding"), deadline=deadline_of(request))
    vector = answer.outputs["embedding"]
    vector = normalized(vector) if normalize else np.ascontiguousarray(vector)
    return ArrayResponse(
        answer_head(served, request_id_of(request))
        | {"size": vector.size, "normalized": normalize, "embedding": vector}
    )


def normalized(vector: Floats) -> Floats:
    """The vector divided by its Euclidean length; a vector of zeros stays as it is."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / length).astype(np.float32) if length > 0 else vector
