"""Why this label: the exact class activation map, as numbers or laid over the image.

The head averages feature maps and multiplies with a matrix, so a logit is the mean of a map plus the
bias: no gradients and no approximation (Zhou et al. 2016, "Learning Deep Features for Discriminative
Localization"). A place of the map says how much that place of the image adds to the label's logit.

The picture shows the map less the average of the other labels' maps, biases included: only differences
between logits decide, and what all labels share would drown them. Its mean is the label's lead.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import anyio.to_thread
import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from models.card import Card
from models.errors import BadParameter
from models.image import decode as images
from models.runtime.base import softmax
from models.runtime.cam import class_activation
from service.asgi.problem import request_id_of
from service.ports import Floats, Served, gateway_of
from service.rendering.overlay import activation_overlay
from service.routes.dependencies import IMAGE_BODY, ModelQuery, find_model, limits_of, one_image

PICTURE_SIDE: Final = 640
"""Longer side in pixels of the photograph under the heat map."""


@dataclass(frozen=True)
class Explanation:
    """A label, and the map whose mean plus ``bias`` is its ``logit``."""

    label: str
    index: int
    probability: float
    logit: float
    bias: float
    map: Floats
    lead: Floats
    """The map and bias, less the average of the other labels' ones: what the picture shows."""


class ExplainAnswer(BaseModel):
    """The class activation map of a label: mean(``map``) + ``bias`` = ``logit``."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    version: str
    variant: str
    label: str
    probability: float
    logit: float
    bias: float
    mean: float
    """Of the map, in float64."""
    shape: list[int]
    """[rows, columns]; the map covers the whole image."""
    map: list[list[float]]
    request_id: str


router = APIRouter(tags=["look inside"])


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
    chosen: Annotated[ModelQuery, Query()],
    label: Annotated[str | None, Query(description="Default: the label with the highest probability.")] = None,
    format: Annotated[Literal["png", "json"], Query()] = "png",
) -> Response:
    """Class activation: warm places speak for the label, cold ones against it."""
    gateway = gateway_of(request)
    gateway.begin()
    data = one_image(await gateway.images(request))
    served = find_model(request, chosen)
    index = check(served.card, label)
    wanted = ["logits", *(f"tap_{pool.tap}" for pool in served.card.head.pools)]
    answer = await gateway.answer(served, data, wanted)
    explanation = explain(served.card, served.head(), answer.outputs, index)
    if format == "json":
        return Response(_json(request_id_of(request), served, explanation), media_type="application/json")
    picture = await anyio.to_thread.run_sync(_png, data, explanation, limits_of(request))
    return Response(picture, media_type="image/png")


def check(card: Card, label: str | None) -> int | None:
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


def explain(
    card: Card, head: tuple[Floats, Floats], outputs: dict[str, NDArray[np.float32]], index: int | None
) -> Explanation:
    """The map of label ``index`` (None: the top one) from one image's ``logits`` and ``tap_<n>`` outputs."""
    logits = outputs["logits"]
    index = int(logits.argmax()) if index is None else index
    kernel, bias = head
    maps = {pool.tap: outputs[f"tap_{pool.tap}"] for pool in card.head.pools}
    return Explanation(
        label=card.labels[index],
        index=index,
        probability=float(softmax(logits, card.temperature)[index]),
        logit=float(logits[index]),
        bias=float(bias[index]),
        map=class_activation(maps, kernel, bias, card.head, index),
        lead=_lead(maps, kernel, bias, card, index),
    )


def _lead(maps: dict[int, NDArray[np.float32]], kernel: Floats, bias: Floats, card: Card, index: int) -> Floats:
    """The map of logit(label) minus the mean of the other logits; maps are linear, so one is enough."""
    others = np.arange(len(card.labels)) != index
    kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
    weights = kernel[:, index] - kernel[:, others].mean(axis=1)
    shared = bias[index] - bias[others].mean()
    column, offset = weights[:, None].astype(np.float32), np.array([shared], np.float32)
    lead: Floats = class_activation(maps, column, offset, card.head, 0) + offset[0]
    return lead


def _json(request_id: str, served: Served, found: Explanation) -> bytes:
    answer: dict[str, Any] = {
        "model": served.name,
        "version": served.version,
        "variant": served.variant,
        "label": found.label,
        "probability": found.probability,
        "logit": found.logit,
        "bias": found.bias,
        "mean": float(found.map.mean(dtype=np.float64)),
        "shape": found.map.shape,
        "map": np.ascontiguousarray(found.map),
        "request_id": request_id,
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _png(data: bytes, found: Explanation, limits: images.Limits = images.DEFAULT_LIMITS) -> bytes:
    lead = float(found.lead.mean(dtype=np.float64))
    return activation_overlay(
        images.thumbnail(data, PICTURE_SIDE, limits),
        found.lead,
        title=f"{found.label}   {found.probability:.1%}",
        subtitle=f"logit {found.logit:.3g}, {abs(lead):.3g} {'over' if lead >= 0 else 'under'} the other labels",
    )
