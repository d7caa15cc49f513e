"""Messages of the Open Inference Protocol, version 2."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

INPUT: Final = "image"
DATATYPES: Final = ("UINT8", "BYTES")
"""Pixels at the model's own size, or image files. Others are read too, to be refused in the protocol's words."""
MAX_BATCH: Final = 64
"""Most images in one call."""
MAX_RANK: Final = 8

Parameters = dict[str, Any]


class _Message(BaseModel):
    # The protocol lets a client send parameters and fields of extensions; those not known here are ignored.
    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


class RequestInput(_Message):
    """One input tensor; ``data`` is absent where the binary extension carries it."""

    name: Annotated[str, Field(strict=True, max_length=256, json_schema_extra={"enum": [INPUT]})]
    shape: Annotated[list[Annotated[int, Field(strict=True, ge=0, lt=2**63)]], Field(min_length=1, max_length=MAX_RANK)]
    datatype: Annotated[str, Field(strict=True, max_length=16, json_schema_extra={"enum": list(DATATYPES)})]
    parameters: Parameters = {}
    data: list[Any] | None = None
    """Row-major numbers, nested or flat; for BYTES the encoded images in base64."""


class RequestOutput(_Message):
    """One output that is wanted."""

    name: Annotated[str, Field(strict=True, max_length=256)]
    parameters: Parameters = {}
    """``binary_data`` (true: as binary) and ``classification`` (the best so many as value:index:label)."""


class InferRequest(_Message):
    """A request for inference."""

    id: Annotated[str, Field(strict=True, max_length=1024)] | None = None
    parameters: Parameters = {}
    """``binary_data_output`` (true: all outputs as binary)."""
    inputs: Annotated[list[RequestInput], Field(min_length=1, max_length=16, json_schema_extra={"maxItems": 1})]
    outputs: Annotated[list[RequestOutput], Field(max_length=64)] = []
    """Default: all."""


class ResponseOutput(_Message):
    """One output tensor; ``data`` is absent where it follows as binary."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: list[Any] | None = None


class InferAnswer(_Message):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


class ServerMetadata(_Message):
    """What this server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(_Message):
    """An input or output of a model; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_Message):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Live(_Message):
    """Whether the server answers."""

    live: bool


class Ready(_Message):
    """Whether the server takes work."""

    ready: bool


class ModelReady(_Message):
    """Whether a model takes work."""

    name: str
    ready: bool


class ProtocolError(_Message):
    """What went wrong, and what to do."""

    error: str
