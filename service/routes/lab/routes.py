"""The convolution lab: convolution, padding and pooling of a given image, step by step.

Everything is computed by ``service.routes.lab.convolution`` in float64. Sizes are bounded before anything is
computed, and the work runs in the pipeline's threads for pictures, so that it does not delay classification.
"""

import base64
import binascii
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray
from pydantic import TypeAdapter

from models.card import Tap
from models.errors import BadParameter
from models.image.decode import Limits, inspect, thumbnail
from service.asgi.context import deadline_of
from service.rendering.feature_grid import Layer, feature_grids
from service.routes.dependencies import limits_of, pipeline_of, pixels_of
from service.routes.lab.convolution import convolve, output_shape, pad_widths, pool, steps
from service.routes.lab.schemas import ConvolveAnswer, ConvolveRequest, PoolRequest, Preset, parse_request
from service.routes.openapi import inlined_schema

MAX_WINDOW_NUMBERS: Final = 6_000_000
"""Most numbers under all places of the kernel together: 48 MB while it is computed."""
MAX_PRODUCTS: Final = 100_000_000
MAX_ANSWER_NUMBERS: Final = 300_000
MAX_STEP_NUMBERS: Final = 30_000

Floats = NDArray[np.float64]

PRESETS: Final = TypeAdapter(list[Preset]).validate_json(Path(__file__).with_name("presets.json").read_bytes())
"""The lecture's examples of convolution, padding and pooling."""

router = APIRouter(tags=["lab"])


@router.post(
    "/v1/convolve",
    responses={
        200: {
            "model": ConvolveAnswer,
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    summary="Slide a kernel over an image, pad, stride and pool, step by step on request",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": inlined_schema(ConvolveRequest),
                    "examples": {preset.name: {"summary": preset.title, "value": preset.request} for preset in PRESETS},
                }
            },
        }
    },
)
async def post_convolve(
    request: Request,
    format: Annotated[Literal["json", "png"], Query(description="Numbers, or a picture of the maps.")] = "json",
) -> Response:
    """Multiply and sum the kernel with each window of the image (cross-correlation), then pool."""
    body = await request.body()
    pipeline, limits, deadline = pipeline_of(request), limits_of(request), deadline_of(request)
    asked, file, pixels = await pipeline.render(lambda: _read(body, limits), deadline=deadline, pixels=0)
    answer = await pipeline.render(lambda: _write(asked, file, format, limits), deadline=deadline, pixels=pixels)
    return Response(answer, media_type="image/png" if format == "png" else "application/json")


@router.get("/v1/convolve/presets", summary="The lecture's own examples, ready to send")
async def get_presets() -> list[Preset]:
    """Requests for ``POST /v1/convolve`` by name, each with what it shows."""
    return PRESETS


def _read(body: bytes, limits: Limits) -> tuple[ConvolveRequest, bytes | None, int]:
    """The request, its image file where it has one, and how many pixels that has."""
    request = parse_request(body)
    if request.kernel is None and request.pool is None:
        raise BadParameter("There is nothing to do. Give a `kernel`, a `pool`, or both.")
    if not isinstance(request.image, str):
        return request, None, 0
    file = _from_base64(request.image)
    return request, file, pixels_of(file, limits)


def _write(request: ConvolveRequest, file: bytes | None, format: str, limits: Limits) -> bytes:
    answer = _computed(request, file, limits)
    return _picture(answer) if format == "png" else orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _picture(answer: dict[str, Any]) -> bytes:
    """The last maps of an answer as a labelled grid."""
    name = "pooled" if "pooled" in answer else "feature_maps"
    maps = np.moveaxis(answer[name], 0, 2)
    rows, columns, count = maps.shape
    stride = max(1, round(answer["input"]["shape"][0] / rows))
    tap = Tap(index=0, name=name.replace("_", " "), shape=(rows, columns, count), stride=stride)
    return feature_grids([Layer(maps=maps, tap=tap, channels=range(count))])


def _computed(request: ConvolveRequest, file: bytes | None, limits: Limits) -> dict[str, Any]:
    """The answer (see ``ConvolveAnswer``) as plain values and arrays."""
    shrunk_from = None
    if file is not None:
        pixels, shrunk_from = _decoded(file, request.colour, request.max_side, limits)
    else:
        pixels = _array(request.image, "image")
    _bound_answer(pixels.size)
    answer: dict[str, Any] = {"input": {"shape": [*pixels.shape, 1][:3], "shrunk_from": shrunk_from}}
    # (rows, columns, maps), for the image itself where nothing is convolved
    maps = pixels if pixels.ndim == 3 else pixels[:, :, None]
    if request.kernel is not None:
        maps = _convolve(request, maps, _kernels(request, pixels), answer, is_matrix=pixels.ndim == 2)
    if request.pool is not None:
        _pool(request.pool, maps, request.steps, answer)
    return answer


def _convolve(
    request: ConvolveRequest, image: Floats, kernels: Floats, answer: dict[str, Any], *, is_matrix: bool
) -> Floats:
    stride = _pair(request.stride)
    window = (kernels.shape[0], kernels.shape[1])
    rows, columns = output_shape(image.shape, window, stride, request.padding)
    _bound(rows, columns, kernels, request.steps)
    (top, bottom), (left, right) = pad_widths(image.shape, window, stride, request.padding)
    maps = convolve(image, kernels, stride, request.padding)
    answer["padding"] = {"top": top, "bottom": bottom, "left": left, "right": right}
    answer["shape"] = maps.shape
    answer["feature_maps"] = _by_map(maps)
    if request.steps:
        cell = (..., 0) if is_matrix else ...  # windows of a matrix are matrices
        answer["steps"] = [
            {
                "map": step.kernel,
                "row": step.row,
                "column": step.column,
                "top": step.top,
                "left": step.left,
                "window": np.ascontiguousarray(step.window[cell]),
                "products": np.ascontiguousarray(step.products[cell]),
                "sum": float(step.products.sum()),
            }
            for step in steps(image, kernels, stride, request.padding)
        ]
    return maps


def _pool(asked: PoolRequest, maps: Floats, with_steps: bool, answer: dict[str, Any]) -> None:
    size = _pair(asked.size)
    stride = size if asked.stride is None else _pair(asked.stride)
    rows, columns = output_shape(maps.shape, size, stride, asked.padding)
    numbers = rows * columns * maps.shape[2] * size[0] * size[1]
    if numbers > MAX_WINDOW_NUMBERS:
        raise _too_much("The pooling windows hold", numbers, MAX_WINDOW_NUMBERS, "a larger pooling stride")
    if with_steps and numbers > MAX_STEP_NUMBERS:
        raise _too_much("The steps of pooling hold", numbers, MAX_STEP_NUMBERS, "`steps` false")
    pooled = pool(maps, size, stride, asked.type, asked.padding)
    _bound_answer(pooled.size)
    answer["pooled_shape"] = pooled.shape
    answer["pooled"] = _by_map(pooled)
    if with_steps:
        answer["pool_steps"] = _pool_steps(maps, pooled, size, stride, asked)


def _pool_steps(
    maps: Floats, pooled: Floats, size: tuple[int, int], stride: tuple[int, int], asked: PoolRequest
) -> list[dict[str, Any]]:
    (above, _), (before, _) = pad_widths(maps.shape, size, stride, asked.padding)
    listed = []
    for number in range(pooled.shape[2]):
        for row, column in np.ndindex(pooled.shape[0], pooled.shape[1]):
            top, left = row * stride[0] - above, column * stride[1] - before
            window = maps[max(top, 0) : top + size[0], max(left, 0) : left + size[1], number]
            listed.append(
                {
                    "map": number,
                    "row": row,
                    "column": column,
                    "top": top,
                    "left": left,
                    "window": np.ascontiguousarray(window),
                    "result": float(pooled[row, column, number]),
                }
            )
    return listed


def _from_base64(text: str) -> bytes:
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadParameter("`image` is a text but no base64. Send a matrix, or a file in base64.") from error


def _decoded(file: bytes, colour: str, max_side: int, limits: Limits) -> tuple[Floats, tuple[int, int] | None]:
    """Pixels 0 to 255 of an image file, and its height and width if it had to be shrunk."""
    info = inspect(file, limits)
    rgb = thumbnail(file, max_side, limits).astype(np.float64)
    if colour == "grey":
        # The weights of ITU-R BT.601, as in Pillow.
        rgb = np.rint(rgb @ [0.299, 0.587, 0.114])
    shrunk = max(info.height, info.width) > max_side
    return rgb, (info.height, info.width) if shrunk else None


def _kernels(request: ConvolveRequest, pixels: Floats) -> Floats:
    """Kernels as (height, width, channels, kernels).

    A kernel has as many dimensions as the image, or one more where it is a list of kernels.
    """
    kernels = _array(request.kernel, "kernel")
    if pixels.ndim == 2 and kernels.ndim < 4:
        kernels = kernels[..., None]
    if kernels.ndim == 2:
        raise BadParameter(
            f"The kernel is a matrix but the image has {pixels.shape[2]} channels. "
            "Give the kernel as many: [row][column][channel]."
        )
    if kernels.ndim == 3:
        kernels = kernels[None]
    return np.moveaxis(kernels, 0, -1)


def _array(values: Any, what: str) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except ValueError as error:
        raise BadParameter(
            f"The rows of the {what} differ in length. Give every row as many numbers as the first."
        ) from error


def _bound(rows: int, columns: int, kernels: Floats, with_steps: bool) -> None:
    height, width, channels, count = kernels.shape
    under = rows * columns * height * width * channels
    if under > MAX_WINDOW_NUMBERS or under * count > MAX_PRODUCTS:
        most = MAX_WINDOW_NUMBERS if under > MAX_WINDOW_NUMBERS else MAX_PRODUCTS
        amount = under if under > MAX_WINDOW_NUMBERS else under * count
        raise _too_much("The kernel takes", amount, most, "a smaller image, a smaller kernel or a larger stride")
    _bound_answer(rows * columns * count)
    if with_steps and under * count > MAX_STEP_NUMBERS:
        raise _too_much("The steps hold", under * count, MAX_STEP_NUMBERS, "a smaller image, or `steps` false")


def _bound_answer(numbers: int) -> None:
    if numbers > MAX_ANSWER_NUMBERS:
        raise _too_much(
            "The image or its feature maps hold",
            numbers,
            MAX_ANSWER_NUMBERS,
            "a smaller image (`max_side` for an image file), a larger stride or fewer kernels",
        )


def _too_much(what: str, amount: int, most: int, instead: str) -> BadParameter:
    return BadParameter(f"{what} {amount:,} numbers, over the limit of {most:,}. Ask for less: {instead}.")


def _by_map(maps: Floats) -> Floats:
    """(maps, rows, columns), laid out for the serialiser."""
    return np.ascontiguousarray(np.moveaxis(maps, 2, 0))


def _pair(value: int | list[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
