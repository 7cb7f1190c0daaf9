"""Answers kept, and found again by the exact bytes of what was asked."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, final

from gradwire._wire import Prediction

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from numpy.typing import NDArray

    from gradwire._model.request import Arrays, Plan


@final
class Memo:
    """The last answers, all of one version of the model.

    A question is the signature, the outputs wanted, and every input's name, dtype, shape and bytes; questions are
    compared as they are, not by a hash of them, so that no two can be taken for each other. Minus zero and zero are two
    questions, and so are two NaNs of different payloads. It may be used from several threads.

    Args:
        most: how many answers to keep; the one that was used longest ago goes first. 0 keeps none.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._version: int | None = None
        self._answers: OrderedDict[Hashable, Arrays] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, plan: Plan) -> Arrays | None:
        """Finds the answer to a question; arrays of the caller's own. None where there is none."""
        if not self._most:
            return None
        key = _key(plan)
        with self._lock:
            if key not in self._answers:
                return None
            self._answers.move_to_end(key)
            return _copy(self._answers[key])

    def keep(self, plan: Plan, found: Mapping[str, NDArray[Any]], checked: Arrays) -> None:
        """Keeps an answer; when another version than before gave it, those of before go.

        Args:
            plan: the question.
            found: the answer as it came, which knows its version.
            checked: its arrays.
        """
        if not self._most:
            return
        version = found.version if isinstance(found, Prediction) else None
        with self._lock:
            if version != self._version:
                self._answers.clear()
                self._version = version
            self._answers[_key(plan)] = _copy(checked)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)


def _key(plan: Plan) -> Hashable:
    inputs = tuple((name, array.dtype.str, array.shape, _bytes(array)) for name, array in plan.rows.items())
    return plan.signature.name, tuple(plan.names), inputs


def _bytes(array: NDArray[Any]) -> Hashable:
    return tuple(array.reshape(-1).tolist()) if array.dtype == object else array.tobytes()


def _copy(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}
