"""Names of a package in C: the file that ``gradwire convert`` writes, and kernels compiled for one machine."""

from __future__ import annotations

from typing import Final

C_SUFFIX: Final = ".c"
KERNELS_LIBRARY: Final = "kernels.so"
KERNELS_FILE: Final = "kernels.json"  # their signatures, agreement and speed
