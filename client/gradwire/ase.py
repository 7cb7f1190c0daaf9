"""A model of an energy as an ASE calculator: energy, forces and the Hessian, each from one call.

atoms.calc = gradwire.ase.Calculator(gradwire.connect("localhost:8500", "argon"))
ase.optimize.BFGS(atoms).run(fmax=1e-4)
ase.vibrations.VibrationsData(atoms, atoms.calc.get_hessian(atoms)).get_frequencies()
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._bridges import Bridge, sizes
from gradwire._connect import connect, load
from gradwire._errors import ShapeError, UsageError
from gradwire._extras import import_extra
from gradwire._model import Model
from gradwire._package import CardTensor

__all__ = ["Calculator"]

# A calculator is a subclass of ASE's, so that this module, unlike the other bridges, needs its framework at once.
_ase: Final[Any] = import_extra("ase.calculators.calculator", "ase")
_units: Final[Any] = import_extra("ase.units", "ase")

_SPACE: Final = 3  # coordinates of an atom
# How many Å and eV, which ASE computes in, a unit of the card is.
_LENGTHS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("Å", "angstrom", "Angstrom", "Ang", "A"), 1.0),
    **dict.fromkeys(("bohr", "Bohr", "a0", "a_0"), float(_units.Bohr)),
    "nm": 10.0,
    "pm": 0.01,
}
_ENERGIES: Final[Mapping[str, float]] = {
    "eV": 1.0,
    "meV": 1e-3,
    **dict.fromkeys(("hartree", "Hartree", "Ha", "Eh", "E_h"), float(_units.Hartree)),
    **dict.fromkeys(("rydberg", "Rydberg", "Ry"), float(_units.Rydberg)),
    "kcal/mol": float(_units.kcal / _units.mol),
    "kJ/mol": float(_units.kJ / _units.mol),
}


@final
class Calculator(_ase.Calculator):
    """A served or loaded model of an energy, as an ``ase.calculators.calculator.Calculator``.

    The model has one input, the positions of a fixed number of atoms, ``(atoms, 3)``, and an energy, whose derivative
    is minus the forces; a package of ``gradwire train FILE --network atoms`` is one. Energy and forces of a point are
    one call together. ASE's units are Å and eV: what the card has in others, such as bohr and hartree, is converted.
    Stress and periodic cells are refused: the model knows positions alone.

    It pickles and deep-copies as its model does: as the address, or the directory.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``; or a server's address, such as ``"localhost:8500"``, or a
            package's directory.
        name: of the model on the server, with an address alone.
        output: the energy, where the model has several outputs; by default the only one, or ``"energy"``.
        length_unit: of the positions, where the card has none: ``"Å"``, ``"bohr"``, ``"nm"`` or ``"pm"``.
        energy_unit: of the energy, where the card has none: ``"eV"``, ``"meV"``, ``"hartree"``, ``"rydberg"``,
            ``"kcal/mol"`` or ``"kJ/mol"``.

    Raises:
        MissingExtra: ASE is not installed (when this module is imported).
        UsageError: the model's inputs or outputs are others, or its units unknown or not those that are named.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
        GradwireError: nothing responds at the address, or the directory cannot be loaded (see ``gradwire.connect`` and
            ``gradwire.load``).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        name: str | None = None,
        *,
        output: str | None = None,
        length_unit: str | None = None,
        energy_unit: str | None = None,
    ) -> None:
        _ase.Calculator.__init__(self)
        self._bridge = Bridge(_opened(model, name))
        self._positions = _positions(self._bridge)
        self._energy, self._index = _energy(self._bridge, output)
        self._length = _factor(self._positions, length_unit, "length_unit", _LENGTHS)
        self._scale = _factor(self._energy, energy_unit, "energy_unit", _ENERGIES)
        self.parameters = {"model": repr(self._bridge.model)}  # what a trajectory says of it

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = _ase.all_changes,
    ) -> None:
        """Compute energy and forces in one call; ASE calls this.

        Args:
            atoms: an ``ase.Atoms``.
            properties: what is asked for; all there is comes at once.
            system_changes: what has changed since the last call.

        Raises:
            ShapeError: another number of atoms than the model's.
            UsageError: species that differ from the card's, or a periodic cell.
            GradwireError: the call failed.
        """
        _ase.Calculator.calculate(self, atoms, properties, system_changes)
        value, jacobian = self._bridge.value_and_jacobian(self._row(self.atoms))
        energy = float(value[self._index]) * self._scale
        gradient = np.asarray(jacobian[self._index], np.float64).reshape(-1, _SPACE)
        forces = -gradient * (self._scale / self._length)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}

    def get_hessian(self, atoms: Any = None) -> NDArray[np.float64]:
        """Compute the second derivatives of the energy in one call, for ``ase.vibrations.VibrationsData``.

        By the signature `hessian`, or else `hvp` along each of the 3 · atoms coordinates.

        Args:
            atoms: an ``ase.Atoms``; by default those of the last calculation.

        Returns:
            ``(atoms, 3, atoms, 3)`` in eV/Å². A float32 package has some six digits of it.

        Raises:
            SignatureNotFound: the package has neither `hvp` nor `hessian`.
            ShapeError: another number of atoms than the model's.
            UsageError: no atoms, species that differ from the card's, or a periodic cell.
            GradwireError: the call failed.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise UsageError("no atoms were given, and none calculated before: give some")
        _, _, hessian = self._bridge.value_jacobian_hessian(self._row(atoms))
        count = len(atoms)
        square = np.asarray(hessian[self._index], np.float64).reshape(count, _SPACE, count, _SPACE)
        return square * (self._scale / self._length**2)

    def _row(self, atoms: Any) -> NDArray[Any]:
        """The positions in the model's unit and dtype, as one row."""
        count = self._positions.shape[0]
        if len(atoms) != count:
            raise ShapeError(
                f"{len(atoms)} atoms, and {self._bridge.model!r} takes {count}: each model has its own number"
            )
        if np.any(atoms.pbc):
            raise UsageError(
                f"the atoms have a periodic cell (pbc {atoms.pbc.tolist()}), which {self._bridge.model!r} does not know: "
                "set atoms.pbc = False, if it was trained without one"
            )
        species, symbols = self._positions.species, tuple(atoms.get_chemical_symbols())
        if species is not None and symbols != species:
            raise UsageError(
                f"the atoms are {' '.join(symbols)}, and {self._bridge.model!r} was trained on {' '.join(species)}: "
                "give the same species in the same order"
            )
        return (atoms.get_positions() / self._length).reshape(-1).astype(self._bridge.dtype)


def _opened(model: Model | str | os.PathLike[str], name: str | None) -> Model:
    if isinstance(model, Model) or Path(model).is_dir():
        if name is not None:
            raise UsageError(f"{model!r} needs no model name, and got {name!r}: leave it out")
        return model if isinstance(model, Model) else load(model)
    if name is None:
        raise UsageError(f"{model!r} is no directory; with an address give the model's name too")
    return connect(str(model), name)


def _positions(bridge: Bridge) -> CardTensor:
    inputs = {tensor.name: tensor.shape for tensor in bridge.inputs}
    tensor = bridge.inputs[0]
    is_atoms = len(tensor.shape) == 2 and tensor.shape[1] == _SPACE  # noqa: PLR2004 - the axes
    if len(inputs) > 1 or not is_atoms:
        raise UsageError(f"{bridge.model!r} has the inputs {inputs}, expected one of shape (atoms, 3)")
    return tensor


def _energy(bridge: Bridge, name: str | None) -> tuple[CardTensor, int]:
    """The output, and its place among all elements of the outputs."""
    by_name = {tensor.name: (tensor, sum(sizes(bridge.outputs[:index]))) for index, tensor in enumerate(bridge.outputs)}
    name = next(iter(by_name)) if name is None and len(by_name) == 1 else name or "energy"
    if name not in by_name or sizes([by_name[name][0]]) != [1]:
        shapes = {tensor.name: tensor.shape for tensor in bridge.outputs}
        raise UsageError(
            f"{bridge.model!r} has the outputs {shapes}, and none is a scalar {name!r}: name one with output="
        )
    return by_name[name]


def _factor(tensor: CardTensor, stated: str | None, argument: str, known: Mapping[str, float]) -> float:
    unit = tensor.unit or stated
    if unit is None:
        raise UsageError(
            f"the card has no unit of {tensor.name!r}: state it, {argument}={next(iter(known))!r}, or train with --units"
        )
    if unit not in known:
        raise UsageError(f"{tensor.name!r} has the unit {unit!r}, expected one of {', '.join(known)}")
    if stated is not None and known.get(stated) != known[unit]:
        raise UsageError(f"{argument}={stated!r}, and on the card {tensor.name!r} has the unit {unit!r}: leave it out")
    return known[unit]
