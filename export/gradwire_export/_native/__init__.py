"""A package as C: kernels for this machine, and a file of C99."""

from gradwire_export._native.c99 import write_c
from gradwire_export._native.library import build_library

__all__ = ["build_library", "write_c"]
