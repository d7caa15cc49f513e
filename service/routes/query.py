"""Query parameters of ``/v1/classify``, parsed once for each query string.

FastAPI walks through a route's parameters anew at every request, which costs more than all else that the
service does around a network. A client's query string is nearly always the one it sent before.
"""

from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)
_MAX_CACHED = 256


def read_query(model: type[M], query: bytes) -> M:
    """The parameters in a query string; ``RequestValidationError`` as FastAPI itself raises it."""
    parsed = _cached(model, query) if len(query) <= _MAX_CACHED else _parsed(model, query)
    assert isinstance(parsed, model)  # noqa: S101 - for the type checker, which sees through no cache
    return parsed


def describe_query(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The ``parameters`` of an OpenAPI operation."""
    schema = model.model_json_schema()
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": member.get("description", ""),
            "schema": {key: value for key, value in member.items() if key != "description"},
        }
        for name, member in schema["properties"].items()
    ]


def _parsed(model: type[BaseModel], query: bytes) -> BaseModel:
    try:
        return model.model_validate(dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)))
    except ValidationError as error:
        found = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from error


_cached = lru_cache(maxsize=512)(_parsed)
