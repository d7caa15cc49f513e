"""``POST /v1/feature-maps``: what the layers of the network compute for an image."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from models.image.decode import thumbnail
from service.asgi.context import deadline_of, request_id_of
from service.rendering.feature_maps import (
    CHANNELS_PATTERN,
    MEDIA_TYPES,
    Channels,
    MapFormat,
    check_size,
    find_taps,
    parse_channels,
    render,
)
from service.rendering.tiles import tiles
from service.routes.dependencies import (
    IMAGE_BODY,
    ChosenModel,
    answer_head,
    limits_of,
    pipeline_of,
    pixels_of,
    read_image,
)

PICTURE_SIDE: Final = 320
"""Longer side in pixels of the photograph in a picture of feature maps."""

router = APIRouter(tags=["look inside"])


@router.post(
    "/v1/feature-maps",
    summary="What the layers of the network see in an image",
    openapi_extra=IMAGE_BODY,
    responses={
        200: {
            "description": "The maps of the layers.",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "application/x-npz": {"schema": {"type": "string", "format": "binary"}},
                "image/png": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
)
async def post_feature_maps(
    request: Request,
    served: ChosenModel,
    layer: Annotated[list[str] | None, Query(description="Name or index of a layer; may be repeated.")] = None,
    channels: Annotated[
        str | None,
        Query(description="`0,3,8-15`, `strongest:8`, or `all`.", json_schema_extra={"pattern": CHANNELS_PATTERN}),
    ] = None,
    format: Annotated[MapFormat | Literal["tiles"], Query()] = "json",
    top_k: Annotated[int, Query(ge=1, le=10_000)] = 5,
) -> Response:
    """Shape, stride and values of the layers' feature maps, a labelled picture of them, or one of each channel."""
    taps, wanted = find_taps(served.card, layer or []), parse_channels(channels)
    check_size(taps, wanted, "png" if format == "tiles" else format)
    image = await read_image(request)
    pipeline, limits, deadline = pipeline_of(request), limits_of(request), deadline_of(request)
    outputs = ("logits", *(f"tap_{tap.index}" for tap in taps))
    answer = await pipeline.answer(served, image, outputs, deadline=deadline)
    head = answer_head(served, request_id_of(request)) | {"predictions": served.top(answer.probabilities, top_k)}
    maps = [(tap, answer.outputs[f"tap_{tap.index}"]) for tap in taps]

    def draw() -> bytes:
        if format == "tiles":
            numbers = [None if wanted == Channels() else wanted.of(values, tap) for tap, values in maps]
            return tiles(head, maps, numbers, served.card, served.head()[0])
        picture = thumbnail(image, PICTURE_SIDE, limits) if format == "png" else None
        return render(head, maps, wanted, format, picture)

    body = await pipeline.render(
        draw,
        deadline=deadline,
        pixels=pixels_of(image, limits) if format == "png" else 0,
        held=sum(values.nbytes for _, values in maps),
    )
    return Response(body, media_type=MEDIA_TYPES["json" if format == "tiles" else format])
