"""The models that a server serves: their names, directories, version policies and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions of a model are served.

    Attributes:
        latest: how many of the highest, unless one of the others is set.
        specific: these numbers, where they exist.
        every: all there are.
    """

    latest: int = 1
    specific: tuple[int, ...] | None = None
    every: bool = False

    def select(self, versions: Mapping[int, Path]) -> dict[int, Path]:
        """Return the versions to serve of those below a base path."""
        if self.every:
            return dict(versions)
        if self.specific is not None:
            return {number: versions[number] for number in self.specific if number in versions}
        return {number: versions[number] for number in sorted(versions)[-self.latest :]}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model.

    Attributes:
        name: what callers address.
        base_path: absolute directory of its numbered versions.
        policy: which of them are served; by default the latest.
        labels: versions by label.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    labels: dict[str, int] = field(default_factory=dict[str, int])
