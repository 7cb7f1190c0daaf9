"""The contract of the version that a new one takes the place of.

A server loads the highest version that it sees, and its callers get that one unasked. A program that reads `price` from
a model's responses must not get another model's outputs because someone exported into the same directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gradwire._errors import PackageError, UsageError
from gradwire._package import CARD_FILE, GRAPH_FILE, Card, CardTensor, version_directories

_WAY_OUT = (
    "callers would get the new one unasked: choose another directory, or ask for it with --replace-contract "
    "(replace_contract=True)"
)


def latest_version(base: Path) -> Path | None:
    """Return the version below a model's directory that a server loads, the highest; None where there is none."""
    versions = version_directories(base) if base.is_dir() else {}
    served = [number for number, directory in versions.items() if (directory / GRAPH_FILE).is_file()]
    return versions[max(served)] if served else None


def require_same_contract(base: Path, card: Card) -> None:
    """Raise a UsageError unless a card has the contract of the latest version below a model's directory, if any.

    That is inputs, outputs, shapes, dtypes and derivatives; units and domain may differ, and signatures may be added.
    """
    latest = latest_version(base)
    if latest is None:
        return
    try:
        before = Card.from_json((latest / CARD_FILE).read_bytes())
    except (OSError, PackageError) as error:
        raise UsageError(f"{latest} has no card that says what its callers expect, and {_WAY_OUT}") from error
    if differences := list(_differences(before, card)):
        raise UsageError(f"{latest} has another contract ({'; '.join(differences)}), and {_WAY_OUT}")


def _differences(before: Card, now: Card) -> Iterator[str]:
    """Describe in what two contracts differ, as far as a caller of the first would notice."""
    for role, tensors, others in (("input", before.inputs, now.inputs), ("output", before.outputs, now.outputs)):
        names, other_names = ([tensor.name for tensor in side] for side in (tensors, others))
        if names != other_names:
            yield f"{role}s {', '.join(names)}, now {', '.join(other_names)}"
        by_name = {tensor.name: tensor for tensor in others}
        for tensor in tensors:
            other = by_name.get(tensor.name, tensor)
            if _form(other) != _form(tensor):
                yield f"{role} {tensor.name} {_form(tensor)}, now {_form(other)}"
    for output, by_input in before.derivatives.items():
        inputs = now.derivatives.get(output, by_input)
        if list(inputs) != list(by_input):
            yield f"{output} differentiated with respect to {', '.join(by_input)}, now {', '.join(inputs)}"
    if missing := [name for name in before.signatures if name not in now.signatures]:
        yield f"now without the signatures {', '.join(missing)}"


def _form(tensor: CardTensor) -> str:
    return f"{tensor.dtype} {tensor.shape}"
