import pytest
from pydantic import ValidationError

from service.routes.schemas import PROBLEMS, ClassifyAnswer, ClassifyAnswers


def test_the_contract_s_answer_fits():
    answer = {
        "model": "m",
        "version": "1",
        "variant": "fast",
        "predictions": [{"label": "a", "probability": 1.0}],
        "timing_ms": {"total": 1.0},
        "request_id": "x",
    }
    assert ClassifyAnswer.model_validate(answer).variant_reason is None
    with pytest.raises(ValidationError):
        ClassifyAnswers.model_validate({"results": [{"label": "a"}], "request_id": "x"})


def test_every_status_of_the_contract_is_described():
    assert set(PROBLEMS) == {400, 401, 404, 408, 413, 415, 422, 503, 504}
