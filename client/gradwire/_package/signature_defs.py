"""SignatureDefs, as a server or a SavedModel holds them, read into the vocabulary of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gradwire._package.contract import Signature, TensorSpec
from gradwire._package.dtypes import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRIVATE: Final = "__saved_model"  # pseudo-signatures that TensorFlow keeps for itself; calling one fails


def read_signatures(signature_defs: Mapping[str, Any]) -> dict[str, Signature]:
    """Reads a map of SignatureDefs.

    Args:
        signature_defs: by signature name, messages of ``gradwire._wire.proto.SignatureDef``.

    Returns:
        The callable signatures by name, sorted, as are their tensors.
    """
    return {
        name: Signature(
            name=name,
            inputs=_specs(signature_defs[name].inputs),
            outputs=_specs(signature_defs[name].outputs),
            optional=frozenset(signature_defs[name].defaults),
        )
        for name in sorted(signature_defs)
        if not name.startswith(_PRIVATE)
    }


def _specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _spec(name, tensors[name]) for name in sorted(tensors)}


def _spec(name: str, info: Any) -> TensorSpec:
    sizes = tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim)
    return TensorSpec(name, name_of(info.dtype), sizes, any_rank=bool(info.tensor_shape.unknown_rank))
