"""What a package is made of: its signatures, its graph, its warm-up file, the version before it."""

from gradwire_export._package.canonical import make_canonical
from gradwire_export._package.network import read_network, write_network
from gradwire_export._package.replaced import latest_version, require_same_contract
from gradwire_export._package.signatures import PackageModule, signature_body, trace_signatures
from gradwire_export._package.solve import SolveSpec, solve_specs
from gradwire_export._package.spec import PackageSpec, package_spec
from gradwire_export._package.warmup import warmup_requests, write_warmup
from gradwire_export._package.xla import XLA, compiled_entry, write_batching

__all__ = [
    "XLA",
    "PackageModule",
    "PackageSpec",
    "SolveSpec",
    "compiled_entry",
    "latest_version",
    "make_canonical",
    "package_spec",
    "read_network",
    "require_same_contract",
    "signature_body",
    "solve_specs",
    "trace_signatures",
    "warmup_requests",
    "write_batching",
    "write_network",
    "write_warmup",
]
