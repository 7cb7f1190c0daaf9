"""A package's signatures as C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from gradwire._errors import ConversionError, PackageError
from gradwire._package import CARD_FILE, VALUE, Card, Signature, check_digest, signatures_of
from gradwire_export._checks import read_graph, read_variables
from gradwire_export._conversion import flat_graph
from gradwire_export._native.c_source import Routine, arrays_text, batch_text, body_text, header_text
from gradwire_export._native.program import Program
from gradwire_export._native.read_program import read_program
from gradwire_export._native.signatures import COMPILED, Derived

# Numbers in the weights, written as text: a million take the compiler some ten seconds.
MOST_NUMBERS: Final = 1 << 20


@final
@dataclass(frozen=True)
class Kernels:
    """The program of a package, and its signatures as routines.

    Attributes:
        card: of the package.
        program: what they compute.
        routines: by signature.
    """

    card: Card
    program: Program
    routines: Mapping[str, Routine]

    @classmethod
    def read(cls, package: Path) -> Kernels:
        """Read a package, a version directory.

        Raises:
            PackageError: it is none, or is not what its card describes.
            ConversionError: it is no dense network, or a very large one.
        """
        check_digest(package)
        if not (package / CARD_FILE).is_file():
            raise PackageError(f"{package} has no card, expected a package that `gradwire export` wrote")
        card = Card.from_json((package / CARD_FILE).read_bytes())
        meta_graph = read_graph(package)
        try:
            graph = flat_graph(meta_graph, VALUE, read_variables(package, meta_graph.graph_def))
            program, inputs, outputs = read_program(graph)
        except ConversionError as error:
            raise ConversionError(f"{package} cannot be compiled: {error}") from error
        derived = Derived(program, inputs, outputs, card)
        routines = {name: derived.routine(name) for name in COMPILED if name in card.signatures}
        if (numbers := sum(array.size for array in program.arrays)) > MOST_NUMBERS:
            raise ConversionError(
                f"{package} cannot be compiled: it has {numbers:,} weights, and {MOST_NUMBERS:,} at most are written as C"
            )
        return cls(card, program, routines)

    @property
    def signatures(self) -> dict[str, Signature]:
        """What the routines take and return."""
        contract = signatures_of(self.card)
        return {name: contract[name] for name in self.routines}

    def for_lanes(self) -> str:
        """Write the routines for many rows at once, by the vector extensions of GCC and Clang."""
        bodies = [
            text
            for routine in self.routines.values()
            for row in [replace(routine, name=f"{routine.name}_row")]
            for text in (body_text(self.program, row, static=True), batch_text(self.program, routine, row.name))
        ]
        return self._joined(bodies, lanes=True)

    def for_one_row(self, prefix: str) -> str:
        """Write the routines for one row, in C99."""
        routines = [replace(routine, name=f"{prefix}_{routine.name}") for routine in self.routines.values()]
        return self._joined([body_text(self.program, each, static=False) for each in routines], lanes=False)

    def _joined(self, bodies: list[str], *, lanes: bool) -> str:
        header = header_text(self.program.dtype, lanes=lanes)
        return "\n\n".join([header, arrays_text(self.program, bodies), *bodies]) + "\n"
