"""The OpenVINO runtime: a network compiled for one image's scores, and in other forms once they are asked for."""

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.card import Precision
from models.environment import has_bfloat16, load_openvino
from models.errors import CatseyeError, StoreError
from models.export.head import HEAD_FILE, HeadArrays
from models.runtime.base import (
    FAST_OUTPUTS,
    Hint,
    Outputs,
    check_answer,
    check_images,
    check_outputs,
    output_names,
)
from models.store.store import StoredModel, check_file

openvino = load_openvino()

logger = logging.getLogger(__name__)

SEVERAL_FORMS_BYTES = 64_000_000
"""Weights up to which a network is kept in forms of its own for single images and for lone ones (decision 0026)."""

LOGITS, EMBEDDING = FAST_OUTPUTS

# OpenVINO's first inference from two threads at once can deadlock: a static initialiser waits for the GIL.
_first = threading.Lock()


class _Form(NamedTuple):
    """What a network was compiled for."""

    single: bool
    """One image a run: with a shape that is known it takes a tenth less time than with a batch of any size."""
    maps: bool = False
    """Every output, not the scores alone."""
    alone: bool = False
    """One run at a time, on every processor."""


class _Compiled:
    """A compiled network and its idle infer requests: as many as there ever were runs at once.

    With a ``head`` the logits are computed from the embedding, in float32: OpenVINO would take bfloat16 for that
    too, and a class activation would no longer add up to them.
    """

    def __init__(self, network: Any, names: Sequence[str], head: HeadArrays | None) -> None:
        self._network = network
        self._head = head
        self.streams = int(network.get_property("NUM_STREAMS"))
        self._index = {name: number for number, name in enumerate(names)}
        self._idle: deque[Any] = deque()

    def run(self, images: NDArray[np.uint8], outputs: Sequence[str]) -> Outputs:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._network.create_infer_request()
        # What may not be written to is copied, since OpenVINO shares no such memory.
        shared = openvino.Tensor(images, shared_memory=images.flags.writeable)
        request.infer(shared, share_outputs=True)
        # Copies, since the request's memory is the next run's. A request that raised is not used again.
        answer = {name: self._read(request, name) for name in outputs}
        self._idle.append(request)
        return answer

    def _read(self, request: Any, name: str) -> NDArray[np.float32]:
        if name == LOGITS and self._head is not None:
            kernel, bias = self._head
            embedding: NDArray[np.float32] = request.get_output_tensor(self._index[EMBEDDING]).data
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
        self.outputs = output_names(model.card)
        self._size = model.card.input_size
        self._core = openvino.Core()
        # A mapped file that somebody truncates would end the process with a bus error.
        self._core.set_property({"ENABLE_MMAP": False})
        self.precision = self._possible(model, precision)
        # Explicit below, for by itself OpenVINO takes bfloat16 wherever the processor has it. What int8 leaves
        # unrounded runs in it, but for the head.
        halved = self.precision != "float32" and has_bfloat16()
        self._head = _checked_head(model, self.precision) if halved else None
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": hint.upper(),
            "INFERENCE_PRECISION_HINT": "bf16" if halved else "f32",
            # Pinned, the threads of every process (and the calling ones) would sit on the same first core.
            "ENABLE_CPU_PINNING": False,
        }
        if streams is not None:
            self._settings["NUM_STREAMS"] = streams
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        file = model.export_path("int8" if precision == "int8" else "float32")
        _check_files(model, file)
        self._several = file.with_suffix(".bin").stat().st_size <= SEVERAL_FORMS_BYTES
        self._forms: dict[_Form, _Compiled] = {}
        self._lock = threading.Lock()
        first = _Form(single=self._several)
        with _first, _openvino_errors(model, file):
            self._whole: Any = self._core.read_model(file)
            _check_ports(model, file.name, self._whole, self.outputs)
            compiled = self._forms[first] = self._compile(first)
            found = compiled.run(np.zeros((1, *self._size, 3), np.uint8), FAST_OUTPUTS)
        check_answer(model, file.name, found)
        self.streams = compiled.streams
        self._lone_asked = self._closed = False

    def run(self, images: NDArray[np.uint8], outputs: Sequence[str] = ("logits",), *, alone: bool = False) -> Outputs:
        """See ``models.runtime.base.Runtime.run``."""
        check_outputs(outputs, self.outputs)
        images = check_images(images, self._size)
        maps = any(name not in FAST_OUTPUTS for name in outputs)
        form = _Form(single=self._several and len(images) == 1, maps=maps)
        compiled = self._lone(form) if alone and form.single and not maps else None
        return (compiled or self._forms.get(form) or self._made(form)).run(images, outputs)

    def close(self) -> None:
        """See ``models.runtime.base.Runtime.close``."""
        with self._lock:
            self._forms, self._whole, self._closed = {}, None, True

    def _lone(self, form: _Form) -> _Compiled | None:
        """One stream over all processors, which the first lone run has made ready beside the others, for the next."""
        if self.streams == 1:
            return None
        alone = form._replace(alone=True)
        if not self._lone_asked:
            with self._lock:
                asked, self._lone_asked = self._lone_asked, True
            if not asked:
                threading.Thread(target=self._make_lone, args=(alone,), name="catseye-lone", daemon=True).start()
        return self._forms.get(alone)

    def _make_lone(self, form: _Form) -> None:
        try:
            self._made(form)
        except (CatseyeError, RuntimeError) as error:
            logger.warning("Lone runs go on in one stream of several: %s", str(error).strip().splitlines()[-1])

    def _made(self, form: _Form) -> _Compiled:
        """Compiled when it is first asked for, from memory: the files may have gone since."""
        with self._lock:
            if self._closed:
                raise CatseyeError("The runtime was closed while a run was on its way to it. Send the request again.")
            if form not in self._forms:
                compiled = self._compile(form)
                compiled.run(np.zeros((1, *self._size, 3), np.uint8), FAST_OUTPUTS)
                self._forms[form] = compiled
            if form.maps and not self._several:
                self._whole = None  # Hundreds of megabytes, of which there are copies in both forms.
            return self._forms[form]

    def _compile(self, form: _Form) -> _Compiled:
        network = self._whole.clone()
        outputs = self.outputs if form.maps else FAST_OUTPUTS
        given = [name for name in outputs if name != LOGITS or self._head is None]
        for result in [port.get_node() for port in network.outputs if port.get_any_name() not in given]:
            network.remove_result(result)
        if form.single:
            network.reshape([1, *self._size, 3])
        alone = {"NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"} if form.alone else {}
        compiled = self._core.compile_model(network, "CPU", {**self._settings, **alone})
        return _Compiled(compiled, [port.get_any_name() for port in compiled.outputs], self._head)

    def _possible(self, model: StoredModel, precision: Precision) -> Precision:
        if precision == "bfloat16" and not has_bfloat16():
            logger.warning("This processor has no bfloat16, so model %s runs in float32.", model.tag)
            return "float32"
        return precision


def _checked_head(model: StoredModel, precision: Precision) -> HeadArrays:
    if model.card.files:
        check_file(model, HEAD_FILE)
    return model.head(precision)


def _check_files(model: StoredModel, path: Path) -> None:
    """Compare both files of an export with the card, which has no hashes before the model is stored."""
    if model.card.files:
        for each in (path, path.with_suffix(".bin")):
            check_file(model, each.relative_to(model.path).as_posix())


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
