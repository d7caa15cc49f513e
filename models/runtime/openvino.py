"""The OpenVINO runtime: compiled for the logits of one image at first, for batches and maps once they are asked for."""

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.arrays import Floats, Pixels
from models.card import Precision
from models.environment import has_bfloat16, load_openvino
from models.errors import CatseyeError, StoreError
from models.export.head import HEAD_FILE, HeadArrays, read_head
from models.runtime.base import FAST_OUTPUTS, Hint, Outputs, check_answer, check_images, check_outputs, output_names
from models.store.store import StoredModel, check_file

openvino = load_openvino()

logger = logging.getLogger(__name__)

SMALL_BYTES = 64_000_000
"""Weights up to which a network is compiled separately for single images and for runs alone (decision 0013)."""

LOGITS, EMBEDDING = FAST_OUTPUTS

# OpenVINO's first inference from two threads at once can deadlock: a static initialiser waits for the GIL.
_first = threading.Lock()


class _Options(NamedTuple):
    """What a network is compiled for."""

    single: bool
    """One image a run: a fixed shape takes a tenth less time than a batch of any size."""
    maps: bool = False
    """Every output, not only logits and embedding."""
    alone: bool = False
    """One run at a time, on every processor."""


class _Compiled:
    """A compiled network and its idle infer requests: as many as there ever were runs at once.

    With a ``head`` the logits are computed from the embedding, in float32: OpenVINO would use bfloat16 for these too,
    and a class activation would no longer add up to them.
    """

    def __init__(self, network: Any, head: HeadArrays | None) -> None:
        self._network, self._head = network, head
        self.streams = int(network.get_property("NUM_STREAMS"))
        self._index = {port.get_any_name(): number for number, port in enumerate(network.outputs)}
        self._idle: deque[Any] = deque()

    def run(self, images: Pixels, outputs: Sequence[str]) -> Outputs:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._network.create_infer_request()
        # OpenVINO shares no read-only memory, so that is copied.
        shared = openvino.Tensor(images, shared_memory=images.flags.writeable)
        request.infer(shared, share_outputs=True)
        # Copies, since the next run writes to the request's memory. A request that raised is not used again.
        answer = {name: self._read(request, name) for name in outputs}
        self._idle.append(request)
        return answer

    def _read(self, request: Any, name: str) -> Floats:
        if name == LOGITS and self._head is not None:
            kernel, bias = self._head
            embedding: Floats = request.get_output_tensor(self._index[EMBEDDING]).data
            return embedding @ kernel + bias
        return np.array(request.get_output_tensor(self._index[name]).data, np.float32)


class OpenvinoRuntime:
    """See ``models.runtime.base.Runtime``."""

    name = "openvino"

    def __init__(
        self,
        model: StoredModel,
        precision: Precision = "float32",
        *,
        streams: int | None = None,
        threads: int | None = None,
        hint: Hint = "latency",
    ) -> None:
        if precision == "bfloat16" and not has_bfloat16():
            logger.warning("This processor has no bfloat16, so model %s runs in float32.", model.tag)
            precision = "float32"
        self.precision = precision
        self.outputs = output_names(model.card)
        self._size = model.card.input_size
        # OpenVINO would use bfloat16 wherever the processor has it. In int8, what is not quantised runs in it.
        bfloat16 = precision != "float32" and has_bfloat16()
        file = model.export_path("int8" if precision == "int8" else "float32")
        _check_files(model, file, with_head=bfloat16)
        self._head = read_head(model.path, precision) if bfloat16 else None
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": hint.upper(),
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            # Pinned, the threads of every process (and the calling ones) would use the same first core.
            "ENABLE_CPU_PINNING": False,
        }
        if streams is not None:
            self._settings["NUM_STREAMS"] = streams
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._core = openvino.Core()
        # With a mapped file that is truncated, the process would end with a bus error.
        self._core.set_property({"ENABLE_MMAP": False})
        self._small = file.with_suffix(".bin").stat().st_size <= SMALL_BYTES
        self._compiled: dict[_Options, _Compiled] = {}
        self._lock = threading.Lock()
        with _first, _openvino_errors(model, file):
            self._network: Any = self._core.read_model(file)
            _check_ports(model, file.name, self._network, self.outputs)
            options = _Options(single=self._small)
            compiled = self._compiled[options] = self._compile(options)
            answer = compiled.run(np.zeros((1, *self._size, 3), np.uint8), FAST_OUTPUTS)
        check_answer(model, file.name, answer)
        self.streams = compiled.streams
        self._alone_asked = self._closed = False

    def run(self, images: Pixels, outputs: Sequence[str] = ("logits",), *, alone: bool = False) -> Outputs:
        """See ``models.runtime.base.Runtime.run``."""
        check_outputs(outputs, self.outputs)
        images = check_images(images, self._size)
        maps = any(name not in FAST_OUTPUTS for name in outputs)
        options = _Options(single=self._small and len(images) == 1, maps=maps)
        compiled = self._for_alone(options) if alone and options.single and not maps else None
        return (compiled or self._compiled.get(options) or self._compile_once(options)).run(images, outputs)

    def close(self) -> None:
        """See ``models.runtime.base.Runtime.close``."""
        with self._lock:
            self._compiled, self._network, self._closed = {}, None, True

    def _for_alone(self, options: _Options) -> _Compiled | None:
        """The network with one stream over all processors; the first call has a thread compile it for the next."""
        if self.streams == 1:
            return None
        options = options._replace(alone=True)
        if not self._alone_asked:
            self._alone_asked = True
            threading.Thread(target=self._try_alone, args=(options,), name="catseye-alone", daemon=True).start()
        return self._compiled.get(options)

    def _try_alone(self, options: _Options) -> None:
        try:
            self._compile_once(options)
        except (CatseyeError, RuntimeError) as error:
            logger.warning("Single runs keep using one stream of several: %s", str(error).strip().splitlines()[-1])

    def _compile_once(self, options: _Options) -> _Compiled:
        """Compiled when it is first asked for, from memory: the files may have been deleted since."""
        with self._lock:
            if self._closed:
                raise CatseyeError("The runtime was closed before a run reached it. Send the request again.")
            if options not in self._compiled:
                compiled = self._compile(options)
                compiled.run(np.zeros((1, *self._size, 3), np.uint8), FAST_OUTPUTS)
                self._compiled[options] = compiled
            if options.maps and not self._small:
                self._network = None  # Hundreds of megabytes, of which both compiled networks have copies.
            return self._compiled[options]

    def _compile(self, options: _Options) -> _Compiled:
        network = self._network.clone()
        outputs = self.outputs if options.maps else FAST_OUTPUTS
        given = [name for name in outputs if name != LOGITS or self._head is None]
        for result in [port.get_node() for port in network.outputs if port.get_any_name() not in given]:
            network.remove_result(result)
        if options.single:
            network.reshape([1, *self._size, 3])
        alone = {"NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"} if options.alone else {}
        return _Compiled(self._core.compile_model(network, "CPU", {**self._settings, **alone}), self._head)


def _check_files(model: StoredModel, path: Path, *, with_head: bool) -> None:
    """Compare the files of an export with the card, which has no hashes before the model is stored."""
    if model.card.files:
        for each in (path, path.with_suffix(".bin")):
            check_file(model, each.relative_to(model.path).as_posix())
        if with_head:
            check_file(model, HEAD_FILE)


@contextmanager
def _openvino_errors(model: StoredModel, path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise StoreError(
            f"{path.name} of model {model.tag} cannot be run by OpenVINO ({reason}). Export or store the model again."
        ) from error


def _check_ports(model: StoredModel, file: str, network: Any, outputs: Sequence[str]) -> None:
    """Raise ``StoreError`` unless the network takes and gives what the card says."""
    have = {name for port in network.outputs for name in port.get_names()}
    missing = [name for name in outputs if name not in have]
    shape = network.inputs[0].partial_shape
    wanted = openvino.PartialShape([-1, *model.card.input_size, 3])
    if missing or len(network.inputs) != 1 or not wanted.same_scheme(shape):
        what = f"has no output {missing[0]}" if missing else f"takes {shape}, not {wanted}"
        raise StoreError(
            f"{file} of model {model.tag} is not the network of its card: it {what}. "
            "Store the model again, or serve another."
        )
