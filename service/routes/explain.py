"""``POST /v1/explain``: the class activation map of a label, as numbers or over the image.

The head averages feature maps and multiplies with a matrix, so a logit is the mean of a map plus the
bias: no gradients and no approximation (Zhou et al. 2016, "Learning Deep Features for Discriminative
Localization"). A place of the map says how much that place of the image adds to the label's logit.

The picture shows the map less the average of the other labels' maps, biases included: only differences
between logits decide, and what all labels share would hide them. Its mean is the label's lead.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray

from models.arrays import Floats
from models.card import Card
from models.errors import BadParameter
from models.image.decode import thumbnail
from models.runtime.cam import class_activation
from service.asgi.context import deadline_of, request_id_of
from service.rendering.overlay import activation_overlay
from service.routes.dependencies import (
    IMAGE_BODY,
    ChosenModel,
    answer_head,
    limits_of,
    pipeline_of,
    pixels_of,
    read_image,
)
from service.routes.schemas import ModelAnswer

PICTURE_SIDE: Final = 640
"""Longer side in pixels of the photograph under the heat map."""

router = APIRouter(tags=["look inside"])


class ExplainAnswer(ModelAnswer):
    """The class activation map of a label: mean(``map``) + ``bias`` = ``logit``."""

    label: str
    probability: float
    logit: float
    bias: float
    mean: float
    """Of the map, in float64."""
    shape: list[int]
    """[rows, columns]; the map covers the whole image."""
    map: list[list[float]]


@router.post(
    "/v1/explain",
    summary="Where in the image a label comes from",
    openapi_extra=IMAGE_BODY,
    responses={
        200: {
            "model": ExplainAnswer,
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def post_explain(
    request: Request,
    served: ChosenModel,
    label: Annotated[str | None, Query(description="Default: the label with the highest probability.")] = None,
    format: Annotated[Literal["png", "json"], Query()] = "png",
) -> Response:
    """Class activation: warm places speak for the label, cold ones against it."""
    chosen = label_index(served.card, label)
    pipeline, limits, deadline = pipeline_of(request), limits_of(request), deadline_of(request)
    image = await read_image(request)
    taps = [pool.tap for pool in served.card.head.pools]
    answer = await pipeline.answer(served, image, ("logits", *(f"tap_{tap}" for tap in taps)), deadline=deadline)
    maps = {tap: answer.outputs[f"tap_{tap}"] for tap in taps}
    index = int(answer.outputs["logits"].argmax()) if chosen is None else chosen

    def write() -> bytes:
        described = {
            "label": served.card.labels[index],
            "probability": float(answer.probabilities[index]),
            "logit": float(answer.outputs["logits"][index]),
        }
        if format == "json":
            found = (
                answer_head(served, request_id_of(request))
                | described
                | activation(served.card, served.head(), maps, index)
            )
            return orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)
        over_others = lead(served.card, served.head(), maps, index)
        mean = float(over_others.mean(dtype=np.float64))
        return activation_overlay(
            thumbnail(image, PICTURE_SIDE, limits),
            over_others,
            title=f"{described['label']}   {described['probability']:.1%}",
            subtitle=f"logit {described['logit']:.3g}, {abs(mean):.3g} {'over' if mean >= 0 else 'under'} "
            "the other labels",
        )

    body = await pipeline.render(
        write,
        deadline=deadline,
        pixels=pixels_of(image, limits) if format == "png" else 0,
        held=sum(values.nbytes for values in maps.values()),
    )
    return Response(body, media_type="application/json" if format == "json" else "image/png")


def label_index(card: Card, label: str | None) -> int | None:
    """Index of the label; ``BadParameter`` where it is unknown, or the model's head is no average of maps."""
    if not card.head.pools:
        raise BadParameter(
            f"Model {card.name} has no averaged feature maps, so no class activation map exists. "
            "Ask a model with a convolutional backbone."
        )
    if label is None:
        return None
    if label not in card.labels:
        few = ", ".join(card.labels[:20]) + (", ..." if len(card.labels) > 20 else "")
        raise BadParameter(f"Model {card.name} has no label {label[:80]!r}. Its labels are: {few}.")
    return card.labels.index(label)


def activation(card: Card, head: tuple[Floats, Floats], maps: Mapping[int, Floats], index: int) -> dict[str, Any]:
    """The map of a label, with the bias that its mean lacks to the logit; ``maps`` are the head's by tap."""
    kernel, bias = head
    values = class_activation(maps, kernel, bias, card.head, index)
    return {
        "bias": float(bias[index]),
        "mean": float(values.mean(dtype=np.float64)),
        "shape": values.shape,
        "map": np.ascontiguousarray(values),
    }


def lead(card: Card, head: tuple[Floats, Floats], maps: Mapping[int, Floats], index: int) -> Floats:
    """The map of the label's logit less the mean of the other logits, biases included."""
    kernel, bias = head
    weights, shared = _over_others(kernel, index), _over_others(bias[None], index)
    # Maps are linear in the weights, so those of all the other labels need not be computed.
    column, offset = weights[:, None].astype(np.float32), shared.astype(np.float32)
    found: Floats = class_activation(maps, column, offset, card.head, 0) + offset[0]
    return found


def _over_others(values: Floats, index: int) -> NDArray[np.float64]:
    """Column ``index`` of (n, labels) values less the mean of the other columns."""
    column: NDArray[np.float64] = values[:, index].astype(np.float64)
    others: NDArray[np.float64] = (values.sum(axis=1, dtype=np.float64) - column) / (values.shape[1] - 1)
    return column - others
