import pytest
from pydantic import ValidationError

from service.routes.v2.schemas import InferRequest

TENSOR = {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["x"]}


def test_a_request_of_the_protocol_is_read():
    asked = InferRequest.model_validate({"id": "7", "inputs": [TENSOR]})
    assert asked.id == "7"
    assert asked.inputs[0].name == "image"


def test_a_request_without_inputs_is_refused():
    with pytest.raises(ValidationError):
        InferRequest.model_validate({"id": "7"})
