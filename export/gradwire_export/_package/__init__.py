"""What a package is made of: its signatures, its graph, its warm-up file, its version directory."""

from gradwire_export._package.canonical import make_canonical
from gradwire_export._package.eager import derivative_by_component, second_derivative_by_component
from gradwire_export._package.signatures import PackageModule, row_signature, trace_signatures
from gradwire_export._package.spec import Plan, plan_of
from gradwire_export._package.versions import new_version
from gradwire_export._package.warmup import warmup_requests, write_warmup
from gradwire_export._package.xla import XLA, compiled_entry, write_batching

__all__ = [
    "XLA",
    "PackageModule",
    "Plan",
    "compiled_entry",
    "derivative_by_component",
    "make_canonical",
    "new_version",
    "plan_of",
    "row_signature",
    "second_derivative_by_component",
    "trace_signatures",
    "warmup_requests",
    "write_batching",
    "write_warmup",
]
