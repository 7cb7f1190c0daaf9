"""An ONNX file that `gradwire convert` wrote, through onnxruntime in this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import DeadlineExceeded, PackageError, ServerError, UsageError
from gradwire._extras import import_extra
from gradwire._package import (
    CARD,
    CARD_ANSWER,
    ONNX_CARD,
    ONNX_DIGEST,
    ONNX_DOMAIN,
    Card,
    Signature,
    TensorSpec,
    onnx_digest,
    signatures_of,
)
from gradwire._transports.base import Transport
from gradwire._wire import Call, VersionStatus

Arrays = Mapping[str, NDArray[Any]]

EXTRA: Final = "onnx"
ERRORS: Final = 3  # onnxruntime's level: its warnings are about how it runs a file, and go to standard error
SHORT: Final = 1024  # rows; fewer are done before a thread could be started to watch the clock
# Rows that are computed at once, for intermediate results to stay in the processor's caches.
BLOCK: Final = 4096
_OWN_DOMAINS: Final = ("", "ai.onnx")
_BATCH: Final = "batch"


@final
class OnnxTransport(Transport):
    """Runs an ONNX file in this process.

    onnxruntime does not survive a fork, so neither does this transport: in the child of a fork it raises UsageError.
    Processes that start afresh (``spawn``) receive it by pickling, as its path.

    Args:
        path: of the file.

    Raises:
        MissingExtra: onnx or onnxruntime is not installed.
        PackageError: the file cannot be read, is damaged, was not written by Gradwire or was changed since; or its card
            does not belong to it.
    """

    can_run_empty: ClassVar[bool] = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runtime = import_extra("onnxruntime", EXTRA)
        self._file: _OnnxFile | None = _OnnxFile(path)
        self._sessions: dict[str, Any] = {}
        self._opening = threading.Lock()
        self._pid = os.getpid()

    @property
    @override
    def address(self) -> str:
        return str(self._path)

    @override
    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        return self._open().signatures

    @override
    def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        file, name = self._open(), call.signature.name
        if name == CARD:
            rows = len(next(iter(call.inputs.values())))
            return {CARD_ANSWER: np.full(rows, file.card.encode(), dtype=object)}
        session = self._session(file, name)
        outputs = list(file.signatures[name].outputs if call.outputs is None else call.outputs)
        inputs = {key: np.asarray(array, array.dtype.newbyteorder("=")) for key, array in call.inputs.items()}
        options = self._runtime.RunOptions()
        with _stopped_after(options, timeout if call.rows is None or call.rows > SHORT else None) as stopped:
            try:
                results = _in_blocks(lambda part: session.run(outputs, part, options), inputs, call.rows)
            except Exception as error:  # its own exceptions have no other base
                if stopped.is_set():
                    raise DeadlineExceeded(
                        f"{self._path} did not answer within {timeout:g} s: give a longer timeout"
                    ) from error
                raise ServerError(
                    f"onnxruntime does not run {name!r} of {self._path}: {_line(error)}", code="INTERNAL"
                ) from error
        return dict(zip(outputs, results, strict=True))

    @override
    def status(self, *, timeout: float) -> list[VersionStatus]:
        self._open()
        return [VersionStatus(1, "AVAILABLE", "")]

    @override
    def close(self) -> None:
        self._file = None
        self._sessions = {}

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return OnnxTransport, (self._path,)

    def _open(self) -> _OnnxFile:
        if self._file is None:
            raise UsageError(f"{self._path} was closed: load it again")
        if self._pid != os.getpid():
            raise UsageError(
                f"{self._path} was loaded before a fork, which onnxruntime does not survive: start processes with "
                "'spawn', or load it in each"
            )
        return self._file

    def _session(self, file: _OnnxFile, name: str) -> Any:
        """Return what runs a signature; made when it is called for the first time."""
        if name not in self._sessions:
            with self._opening:
                if name not in self._sessions:
                    options = self._runtime.SessionOptions()
                    options.log_severity_level = ERRORS
                    # A guest in somebody's program does not keep the processors busy while it waits.
                    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                    try:
                        self._sessions[name] = self._runtime.InferenceSession(
                            file.model(name), options, providers=["CPUExecutionProvider"]
                        )
                    except Exception as error:  # its own exceptions have no other base
                        raise PackageError(
                            f"onnxruntime {self._runtime.__version__} does not load {name!r} of {self._path}: "
                            f"{_line(error)}"
                        ) from error
        return self._sessions[name]


def _in_blocks(run: Callable[[Arrays], list[NDArray[Any]]], inputs: Arrays, rows: int | None) -> list[NDArray[Any]]:
    """Run blocks of rows one after the other, and put the results together."""
    if rows is None or rows <= BLOCK:
        return run(inputs)
    parts = [
        run({name: array[start : start + BLOCK] for name, array in inputs.items()}) for start in range(0, rows, BLOCK)
    ]
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


@contextmanager
def _stopped_after(options: Any, seconds: float | None) -> Generator[threading.Event]:
    """Stop a run after a time; the event says that it was stopped."""
    stopped = threading.Event()
    if seconds is None:
        yield stopped
        return

    def stop() -> None:
        stopped.set()
        options.terminate = True

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield stopped
    finally:
        timer.cancel()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@final
class _OnnxFile:
    """A file that was read and found to be what its card says.

    Attributes:
        card: its card's JSON.
        signatures: by name, the card's own among them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._onnx = import_extra("onnx", EXTRA)
        self._model = self._read()
        texts = {entry.key: entry.value for entry in self._model.metadata_props}
        if ONNX_CARD not in texts:
            raise PackageError(
                f"{path} has no card: `gradwire convert` did not write it; run it with onnxruntime itself"
            )
        self.card: str = texts[ONNX_CARD]
        if texts.get(ONNX_DIGEST) != onnx_digest(self._model, self.card):
            raise PackageError(
                f"{path} was changed since `gradwire convert` wrote it, or its card is another file's: convert the "
                "package again"
            )
        self._functions = {each.name: each for each in self._model.functions if each.domain == ONNX_DOMAIN}
        self.signatures = self._signatures()
        self._require_plain()

    def model(self, name: str) -> bytes:
        """Return a signature as a model of its own."""
        helper, graph = self._onnx.helper, self._model.graph
        if name == graph.name:
            return self._alone(graph)
        function = self._functions[name]
        signature = self.signatures[name]
        weights = {tensor.name: tensor for tensor in graph.initializer}
        types = [
            [
                helper.make_tensor_value_info(
                    spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), [_BATCH, *spec.row_shape]
                )
                for spec in specs.values()
            ]
            for specs in (signature.inputs, signature.outputs)
        ]
        taken = [weights[key] for key in function.input[len(signature.inputs) :]]
        return self._alone(helper.make_graph(function.node, name, *types, taken))

    def _alone(self, graph: Any) -> bytes:
        opsets = [entry for entry in self._model.opset_import if entry.domain in _OWN_DOMAINS]
        alone = self._onnx.helper.make_model(graph, opset_imports=opsets, ir_version=self._model.ir_version)
        return alone.SerializeToString()

    def _read(self) -> Any:
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise PackageError(f"cannot read {self._path}: {error.strerror}") from error
        try:
            return self._onnx.ModelProto.FromString(data)
        except Exception as error:  # protobuf's implementations raise errors of their own
            raise PackageError(
                f"{self._path} is not an ONNX file, or is cut off: {_line(error)}; expected one that `gradwire convert` "
                "wrote"
            ) from error

    def _signatures(self) -> dict[str, Signature]:
        """Return the card's signatures; PackageError where the file has others."""
        card = Card.from_json(self.card)
        by_contract = signatures_of(card)
        there = {self._model.graph.name, *self._functions, CARD}
        if there != set(card.signatures) or not there <= by_contract.keys():
            raise self._foreign(f"signatures {sorted(there)}, and the card {sorted(card.signatures)}")
        signatures = {name: by_contract[name] for name in card.signatures}
        graph = self._model.graph
        for what, tensors, specs in (
            ("inputs", graph.input, signatures[graph.name].inputs),
            ("outputs", graph.output, signatures[graph.name].outputs),
        ):
            actual = {tensor.name: self._spec(tensor) for tensor in tensors}
            if actual != specs:
                raise self._foreign(f"{what} {_texts(actual)}, and the card {_texts(specs)}")
        weights = {tensor.name for tensor in graph.initializer}
        for name, function in self._functions.items():
            own, actual_inputs = list(signatures[name].inputs), list(function.input)
            if actual_inputs[: len(own)] != own or not weights.issuperset(actual_inputs[len(own) :]):
                raise self._foreign(f"inputs {actual_inputs} of {name!r}, and the card {own}")
            if list(function.output) != list(signatures[name].outputs):
                raise self._foreign(
                    f"outputs {list(function.output)} of {name!r}, and the card {list(signatures[name].outputs)}"
                )
        return signatures

    def _spec(self, tensor: Any) -> TensorSpec:
        kind = tensor.type.tensor_type
        try:
            dtype = str(self._onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        except Exception:  # noqa: BLE001 - whatever is no dtype is not the card's
            dtype = f"dtype {kind.elem_type}"
        sizes = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
        return TensorSpec(tensor.name, dtype, sizes)

    def _foreign(self, difference: str) -> PackageError:
        return PackageError(f"the card of {self._path} belongs to another file: this has {difference}")

    def _require_plain(self) -> None:
        """Raise PackageError where the file needs anything but onnxruntime and itself."""
        nodes = [*self._model.graph.node, *(node for each in self._model.functions for node in each.node)]
        if foreign := sorted({node.domain for node in nodes} - {*_OWN_DOMAINS}):
            raise PackageError(f"{self._path} has operators of {foreign}, expected none but ONNX's own")
        tensors = [*self._model.graph.initializer, *(a.t for node in nodes for a in node.attribute if a.HasField("t"))]
        if any(tensor.data_location == self._onnx.TensorProto.EXTERNAL for tensor in tensors):
            raise PackageError(f"{self._path} keeps weights in other files, expected all of them in it")
        try:
            self._onnx.checker.check_model(self._model)
        except Exception as error:  # its own exception, and protobuf's
            raise PackageError(f"{self._path} is not a valid ONNX file: {_line(error)}") from error


def _texts(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{spec.dtype} {name} {spec.row_shape}" for name, spec in specs.items()) or "none"
