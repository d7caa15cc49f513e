"""What the convolution lab reads and answers."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from models.errors import BadParameter

MAX_SIDE: Final = 1024
MAX_KERNEL_SIDE: Final = 64
MAX_KERNELS: Final = 64
MAX_CHANNELS: Final = 64
MAX_ENCODED: Final = 30_000_000

Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e100, le=1e100)]
Values = Annotated[list[Number], Field(min_length=1, max_length=MAX_CHANNELS)]
Matrix = Annotated[
    list[Annotated[list[Number], Field(min_length=1, max_length=MAX_SIDE)]],
    Field(min_length=1, max_length=MAX_SIDE),
]
Volume = Annotated[
    list[Annotated[list[Values], Field(min_length=1, max_length=MAX_SIDE)]],
    Field(min_length=1, max_length=MAX_SIDE),
]
KernelRow = Annotated[list[Number], Field(min_length=1, max_length=MAX_KERNEL_SIDE)]
Kernel2 = Annotated[list[KernelRow], Field(min_length=1, max_length=MAX_KERNEL_SIDE)]
Kernel3 = Annotated[list[Kernel2], Field(min_length=1, max_length=MAX_KERNELS)]
Kernel4 = Annotated[list[Kernel3], Field(min_length=1, max_length=MAX_KERNELS)]
Encoded = Annotated[str, Field(min_length=4, max_length=MAX_ENCODED)]

Step = Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]
Side = Annotated[int, Field(strict=True, ge=1, le=MAX_KERNEL_SIDE)]
Pair = Annotated[list[Step], Field(min_length=2, max_length=2)]
Sides = Annotated[list[Side], Field(min_length=2, max_length=2)]


def _depth(value: Any) -> str:
    """How many lists deep a JSON value is, read along its first entries; ``text`` for a string."""
    if isinstance(value, str):
        return "text"
    depth = 0
    while isinstance(value, list) and depth < 5:
        depth += 1
        value = value[0] if value else None
    return str(depth)


def _one_or_two(value: Any) -> str:
    return "pair" if isinstance(value, list) else "one"


class PoolRequest(BaseModel):
    """Pooling, after the convolution or, where there is no kernel, of the image itself."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    type: Literal["max", "average"] = "max"
    size: Annotated[Annotated[Side, Tag("one")] | Annotated[Sides, Tag("pair")], Discriminator(_one_or_two)] = 2
    """Side of the window, or [height, width]."""
    stride: Annotated[Annotated[Step, Tag("one")] | Annotated[Pair, Tag("pair")], Discriminator(_one_or_two)] | None = (
        None
    )
    """Step of the window, or [down, right]; default its size."""
    padding: Literal["valid", "same"] = "valid"


class ConvolveRequest(BaseModel):
    """An image, and what to do with it; at least one of ``kernel`` and ``pool``."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    image: Annotated[
        Annotated[Encoded, Tag("text")] | Annotated[Matrix, Tag("2")] | Annotated[Volume, Tag("3")],
        Discriminator(
            _depth,
            custom_error_type="image_form",
            custom_error_message="must be a matrix (rows of numbers), rows of pixels of channels, "
            "or an image file in base64",
        ),
    ]
    """A matrix, rows of pixels with several channels, or an image file in base64 (a data URL is fine too)."""
    kernel: (
        Annotated[
            Annotated[Kernel2, Tag("2")] | Annotated[Kernel3, Tag("3")] | Annotated[Kernel4, Tag("4")],
            Discriminator(
                _depth,
                custom_error_type="kernel_form",
                custom_error_message="must be a matrix, a matrix of channel values, or a list of kernels",
            ),
        ]
        | None
    ) = None
    """A matrix; for an image with channels [row][column][channel]. A list of kernels makes several maps."""
    stride: Annotated[Annotated[Step, Tag("one")] | Annotated[Pair, Tag("pair")], Discriminator(_one_or_two)] = 1
    """Step of the kernel, or [down, right]."""
    padding: Literal["valid", "same"] = "valid"
    """``same`` fills the edge with zeros so that the feature map is as large as the image (at stride 1)."""
    pool: PoolRequest | None = None
    steps: Annotated[bool, Field(strict=True)] = False
    """Whether to list every window with its products and their sum."""
    colour: Literal["grey", "rgb"] = "grey"
    """How an image file is read: one channel, or three."""
    max_side: Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)] = 256
    """An image file whose longer side is larger is shrunk to this many pixels first."""


class Preset(BaseModel):
    """One example: a name to choose it by, what it shows, and the request."""

    name: str
    title: str
    about: str
    request: dict[str, Any]


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class InputAnswer(_Answer):
    """The image as it was used."""

    shape: list[int]
    """[height, width, channels]."""
    shrunk_from: list[int] | None = None
    """[height, width] of the image file, where it was shrunk."""


class PaddingAnswer(_Answer):
    """Rows and columns of zeros that were added."""

    top: int
    bottom: int
    left: int
    right: int


class StepAnswer(_Answer):
    """One place of the kernel: what lay under it, the products, and their sum."""

    map: int
    row: int
    column: int
    top: int
    """Row of the image where the window begins; negative inside the padding."""
    left: int
    window: list[Any]
    products: list[Any]
    sum: float


class PoolStepAnswer(_Answer):
    """One place of the pooling window."""

    map: int
    row: int
    column: int
    top: int
    left: int
    window: list[list[float]]
    """The values inside the map; padding is left out, since it does not count."""
    result: float


class ConvolveAnswer(_Answer):
    """The feature maps, and on request how they came about."""

    input: InputAnswer
    padding: PaddingAnswer | None = None
    shape: list[int] | None = None
    """[rows, columns, maps]; none without a kernel."""
    feature_maps: list[list[list[float]]] | None = None
    """One matrix for each kernel."""
    pooled_shape: list[int] | None = None
    pooled: list[list[list[float]]] | None = None
    """One matrix for each feature map, or for each channel of the image where there is no kernel."""
    steps: list[StepAnswer] | None = None
    pool_steps: list[PoolStepAnswer] | None = None


def parse_request(body: bytes) -> ConvolveRequest:
    """The request in a body; ``BadParameter`` names the first thing that is wrong with it and where."""
    try:
        return ConvolveRequest.model_validate_json(body)
    except ValidationError as error:
        raise BadParameter(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    tags = {"text", "one", "pair", "2", "3", "4"}
    place = ".".join(str(part) for part in first["loc"] if part not in tags)
    where = f"`{place}`: " if place else ""
    return f"The request cannot be used: {where}{first['msg']}. Correct it and send it again; /docs shows the form."
