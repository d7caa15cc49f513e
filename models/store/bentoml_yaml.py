"""BentoML's own description of a stored model, so that its commands list ours."""

import io

from bentoml._internal.models.model import ModelContext, ModelInfo
from bentoml._internal.tag import Tag

from models.card import Card


def bentoml_yaml(card: Card, version: str) -> str:
    """The text of ``model.yaml``, as ``bentoml.models.create`` would write it.

    ``create`` itself copies a finished folder into the store file by file, so that a killed process
    leaves half a model; only its format is used.
    """
    info = ModelInfo(
        tag=Tag(card.name, version),
        module="",
        labels={"product": "catseye", "backbone": card.backbone},
        options={},
        metadata={"labels": list(card.labels), "input_size": list(card.input_size)},
        context=ModelContext("catseye", dict(card.versions)),
        signatures={},
        api_version="v1",
        creation_time=card.created,
    )
    text = io.StringIO()
    info.dump(text)
    return text.getvalue()


def tag_of(text: str) -> tuple[str, str]:
    """(name, version) that a ``model.yaml`` declares; ``ValueError`` if it is none."""
    try:
        tag = ModelInfo.from_yaml_file(io.StringIO(text)).tag
    except Exception as error:
        # BentoML, cattrs and PyYAML raise a dozen types for a malformed file.
        raise ValueError("not a BentoML model.yaml") from error
    return tag.name, str(tag.version)
