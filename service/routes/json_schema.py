"""JSON schemas for bodies that a route reads by itself."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def inlined_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema without references, to stand anywhere in an OpenAPI document.

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
