"""What the service needs of libraries beyond their public interface, each with the reason.

``tests/service/test_compatibility.py`` has a test for each, which fails where a new version changes it.
"""

import os
from typing import Any, Final

from models.errors import BadParameter

METRICS_FILE_BYTES: Final = 1 << 20
"""Length of a new metrics file, nearly all of it a hole: no set of labels of this service comes near it."""


def is_configured() -> bool:
    """Whether the environment has settings for BentoML."""
    return any(os.environ.get(name) for name in ("BENTOML_CONFIG", "BENTOML_CONFIG_OPTIONS"))


def tls_options() -> dict[str, Any]:
    """uvicorn's options for TLS, from BentoML's configuration (``services.catseye.ssl``).

    BentoML 1.4 shows its merged configuration in no public place; ``Service.to_asgi`` must have been called.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer

    ssl: dict[str, Any] = BentoMLContainer.ssl.get()
    if not ssl["enabled"]:
        return {}
    if not ssl["certfile"]:  # uvicorn would serve without TLS
        raise BadParameter("TLS is enabled without a certificate. Set services.catseye.ssl.certfile and .keyfile.")
    return {f"ssl_{key}": value for key, value in ssl.items() if key != "enabled" and value is not None}


def make_metric_files_long() -> None:
    """Make new metrics files long enough never to grow; call it before there is a metric.

    To grow, a file is mapped anew, which takes a file descriptor. Where a process has none left, prometheus_client
    (0.26) fails at every new label from then on, and requests with it. The length is no setting of its.
    """
    from prometheus_client import mmap_dict

    mmap_dict._INITIAL_MMAP_SIZE = METRICS_FILE_BYTES
