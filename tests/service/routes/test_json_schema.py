import json

from pydantic import BaseModel

from service.routes.json_schema import inlined_schema


class Inner(BaseModel):
    value: int


class Outer(BaseModel):
    inner: Inner


def test_a_schema_stands_alone_without_references():
    text = json.dumps(inlined_schema(Outer))
    assert "$ref" not in text
    assert '"value"' in text
