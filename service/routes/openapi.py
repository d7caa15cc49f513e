"""What FastAPI does not know of the OpenAPI document: the form of errors, and an example of every answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from fastapi import FastAPI
from pydantic import BaseModel

from service.asgi.problem import MEDIA_TYPE, PROTOCOL_PATH
from service.routes.schemas import Problem

EXAMPLES: Final[dict[str, dict[str, Any]]] = orjson.loads(Path(__file__).with_name("examples.json").read_bytes())
"""Requests and the JSON answers to them by ``method path``, and errors by status, of a service with the solar cells."""


def extend_document(app: FastAPI) -> None:
    """Put the form of errors and the examples into the document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    if path.startswith(PROTOCOL_PATH):
                        operation["responses"].pop("422", None)
                    _add_examples(f"{method} {path.replace('/versions/{version}', '')}", operation)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def inlined_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema without references, for a body that its route reads by itself.

    Models that contain themselves have no such schema.
    """
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, Mapping):
            if "$ref" in node:
                return inlined(definitions[node["$ref"].rsplit("/", 1)[1]])
            # A discriminator only repeats the alternatives, by reference.
            return {key: inlined(value) for key, value in node.items() if key != "discriminator"}
        return [inlined(item) for item in node] if isinstance(node, list) else node

    whole: dict[str, Any] = inlined(schema)
    return whole


def _add_examples(route: str, operation: dict[str, Any]) -> None:
    """Examples of an operation's request and answer, where there are some, and of each of its errors."""
    if route in EXAMPLES["requests"]:
        operation["requestBody"]["content"]["application/json"]["example"] = EXAMPLES["requests"][route]
    for status, response in operation["responses"].items():
        for media, content in response.get("content", {}).items():
            if status == "200" and media == "application/json" and route in EXAMPLES["answers"]:
                content["example"] = EXAMPLES["answers"][route]
            elif status in EXAMPLES["problems"]:
                error = EXAMPLES["problems"][status]
                content["example"] = error if media == MEDIA_TYPE else {"error": error["detail"]}
