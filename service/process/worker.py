"""One of BentoML's workers, ready sooner: ``python -m service.process.worker`` and its options.

Starting is nearly all importing. Of that a tenth is aiohttp, which BentoML imports for services that are commands, and
a tenth Python's search for garbage among what is all kept; and the models can be loaded meanwhile.
"""

import gc
import importlib.util
import sys
from types import ModuleType


def put_off(name: str) -> None:
    """Have a module imported when somebody first uses it.

    Does nothing where it is imported or is not installed. Who imports a name out of it imports it at once. (The
    loader that Python has for this, ``importlib.util.LazyLoader``, gives in at the next ``import`` of the module.)
    """
    if name in sys.modules or (spec := importlib.util.find_spec(name)) is None:
        return
    later = ModuleType(name)
    later.__spec__ = spec

    def use(attribute: str) -> object:
        if sys.modules.get(name) is later:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    later.__dict__["__getattr__"] = use  # PEP 562
    sys.modules[name] = later


def begin() -> None:
    """Have the models loaded meanwhile; TensorFlow not, which would be imported beside everything else."""
    from bentoml._internal.log import SERVER_LOGGING_CONFIG

    from service.inference.preload import opening
    from service.settings import get_settings

    # BentoML sets logging up when our lines may have begun.
    SERVER_LOGGING_CONFIG["disable_existing_loggers"] = False
    if get_settings().runtime == "openvino":
        opening()


def main() -> None:
    """Be a worker; ``service.app`` turns the search for garbage on when its models are loaded."""
    gc.disable()
    put_off("aiohttp")
    begin()
    from _bentoml_impl.worker.service import main as work

    work()


if __name__ == "__main__":
    main()
