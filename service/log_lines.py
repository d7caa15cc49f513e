"""How our own log lines leave a worker."""

import logging
import sys


def write_log_lines() -> None:
    """Have our own lines go to standard output as they are, whatever BentoML's logging is set to."""
    for name in ("catseye", "catseye.access"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.disabled = False
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler(sys.stdout))
    # It warns of every odd byte of a broken form: a stranger could fill the disk with lines that help nobody.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
