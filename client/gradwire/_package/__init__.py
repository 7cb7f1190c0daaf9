"""What a package is: names and shapes, the card, files and digest, dtypes and domain; the floor of all four packages."""

from gradwire._package.atomic import replacing, require_replaceable
from gradwire._package.card import Card, CardTensor, Domain
from gradwire._package.contract import (
    CARD,
    CARD_ANSWER,
    CARD_QUERY,
    HESSIAN,
    HVP,
    JVP,
    SERVING_DEFAULT,
    TANGENT,
    VALUE,
    VJP,
    Signature,
    TensorSpec,
    check_names,
    cotangent_name,
    derivative_name,
    derivative_shape,
    second_derivative_shape,
    tangent_name,
)
from gradwire._package.domain import Box, boxes_of
from gradwire._package.dtypes import BFLOAT16, BY_NAME, BY_NUMBER, STRING, DType
from gradwire._package.files import CARD_FILE, check_digest, digest, file_digests, joined_digest
from gradwire._package.signature_defs import read_signatures
from gradwire._package.signatures import signatures_of
from gradwire._package.strict_json import strict_json

__all__ = [
    "BFLOAT16",
    "BY_NAME",
    "BY_NUMBER",
    "CARD",
    "CARD_ANSWER",
    "CARD_FILE",
    "CARD_QUERY",
    "HESSIAN",
    "HVP",
    "JVP",
    "SERVING_DEFAULT",
    "STRING",
    "TANGENT",
    "VALUE",
    "VJP",
    "Box",
    "Card",
    "CardTensor",
    "DType",
    "Domain",
    "Signature",
    "TensorSpec",
    "boxes_of",
    "check_digest",
    "check_names",
    "cotangent_name",
    "derivative_name",
    "derivative_shape",
    "digest",
    "file_digests",
    "joined_digest",
    "read_signatures",
    "replacing",
    "require_replaceable",
    "second_derivative_shape",
    "signatures_of",
    "strict_json",
    "tangent_name",
]
