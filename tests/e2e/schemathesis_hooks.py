"""What no schema can say, for schemathesis: a file is a whole image, so that what fits the document can be answered."""

import json

import schemathesis
from hypothesis import strategies

from service.routes.openapi import EXAMPLES
from tests.support.images import every_format

INFERENCE = EXAMPLES["requests"]["post /v2/models/{model}/infer"]
PICTURES = strategies.sampled_from(list(every_format(24, 32).values()))

schemathesis.openapi.format("binary", PICTURES)
schemathesis.openapi.media_type("image/*", PICTURES)
# Without the header that says where binary tensors begin, the whole body is the JSON of the request.
schemathesis.openapi.media_type("application/octet-stream", strategies.just(json.dumps(INFERENCE).encode()))
