import logging
import subprocess
import sys


def test_our_lines_are_written_whatever_was_set_up_before_and_after():
    code = """
import logging
from bentoml._internal.log import SERVER_LOGGING_CONFIG, configure_server_logging
from service.log_lines import write_log_lines
from service.worker import begin
logging.getLogger("catseye").info("too early")
configure_server_logging()
logging.getLogger("catseye").info("turned off")
write_log_lines()
write_log_lines()
logging.getLogger("catseye").info("once")
SERVER_LOGGING_CONFIG["disable_existing_loggers"] = False
configure_server_logging()
logging.getLogger("catseye.access").info("again")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["once", "again"]


def test_odd_bytes_of_a_form_are_no_news():
    from service.log_lines import write_log_lines

    before = logging.getLogger("catseye").propagate
    try:
        write_log_lines()
        assert not logging.getLogger("python_multipart").isEnabledFor(logging.WARNING)
    finally:
        for name in ("catseye", "catseye.access"):
            logger = logging.getLogger(name)
            logger.propagate = before
            logger.handlers.clear()
            logger.setLevel(logging.NOTSET)
