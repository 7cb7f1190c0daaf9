"""What the outputs of a function are called, and which of them a package has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gradwire._errors import UsageError
from gradwire_export._derivatives import Tensors

DEFAULT_OUTPUT: Final = "f"


@dataclass(frozen=True)
class OutputNames:
    """What outputs are called, and which of them are wanted.

    Attributes:
        own: the source's names for a sequence, or None.
        given: the caller's: some of the source's names; where it has none, or they are generated, new ones for all.
        generated: Keras made the source's names up, of its layers'.
    """

    own: Sequence[str] | None
    given: Sequence[str] | None
    generated: bool = False

    def give(self, result: Any) -> Tensors:
        """Names what a function returned, and leaves out what is not wanted.

        Args:
            result: a tensor, a sequence or a dict of tensors.

        Raises:
            UsageError: the names do not fit.
        """
        if isinstance(result, Mapping):
            return self._some({str(name): tensor for name, tensor in result.items()})
        tensors = list(result) if isinstance(result, (list, tuple)) else [result]
        all_given = self.given and len(self.given) == len(tensors) and not set(self.given) & set(self.own or ())
        if self.own and not (self.generated and all_given):
            return self._some(dict(zip(self.own, tensors, strict=True)))
        names = self.given or ([DEFAULT_OUTPUT] if len(tensors) == 1 else [])
        if len(names) != len(tensors):
            raise UsageError(f"the function has {len(tensors)} outputs and {len(names)} names {list(names)}: name each")
        return dict(zip(names, tensors, strict=True))

    def _some(self, named: Tensors) -> Tensors:
        if self.given is None:
            return named
        if not self.given or set(self.given) - set(named):
            raise UsageError(
                f"outputs names {list(self.given)}, and the function's own are {list(named)}: give some of those"
            )
        return {name: tensor for name, tensor in named.items() if name in self.given}
