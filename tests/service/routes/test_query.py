import pytest
from fastapi.exceptions import RequestValidationError

from service.routes.classify import read_query


def test_parameters_are_read_with_their_types_and_defaults():
    query = read_query(b"top_k=3&model=pets&latency_budget_ms=2.5&unknown=1")
    assert (query.top_k, query.model, query.latency_budget_ms, query.variant) == (3, "pets", 2.5, None)
    assert read_query(b"").top_k == 5
    assert read_query(b"model=K%C3%A4fer").model == "Käfer"


@pytest.mark.parametrize(
    ("query", "where"),
    [
        (b"top_k=0", "top_k"),
        (b"top_k=1.5", "top_k"),
        (b"top_k=", "top_k"),
        (b"latency_budget_ms=nan", "latency_budget_ms"),
        (b"variant=huge", "variant"),
        (b"variant=\xff%FF" * 100, "variant"),
    ],
)
def test_a_bad_one_is_named(query, where):
    for _ in range(2):
        with pytest.raises(RequestValidationError) as caught:
            read_query(query)
        assert caught.value.errors()[0]["loc"] == ("query", where)


def test_the_document_describes_each(client):
    operation = client.get("/openapi.json").json()["paths"]["/v1/classify"]["post"]
    described = {each["name"]: each for each in operation["parameters"]}
    assert set(described) == {"model", "version", "variant", "top_k", "latency_budget_ms"}
    assert described["top_k"]["schema"]["default"] == 5
    assert described["top_k"]["description"]
    assert not any(each["required"] for each in described.values())
