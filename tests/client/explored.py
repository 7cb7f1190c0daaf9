"""What the tests of the page explore: a source of one model, and the logarithm with error bars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.client.models import log_both, log_card

import gradwire
from gradwire._cli.explore import Source
from gradwire._cli.explore.source import Choice


def log_with_bars() -> gradwire.Model:
    """The logarithm with error bars |x - 1| and |x - 1| / 2, trusted up to 0.5."""
    card = replace(log_card(), uncertainty={"bars": {"f_std": {"trusted_up_to": [0.5]}}})
    bars = {"uncertainty": lambda x: {"f_std": np.abs(x - 1), "df_dx_std": np.abs(x - 1) / 2}}
    return gradwire.Model(gradwire.FakeTransport({"serving_default": log_both} | bars, card=card))


class One(Source):
    """A source of one model."""

    def __init__(self, model: gradwire.Model) -> None:
        super().__init__("one", Choice())
        self._one = model

    def versions(self) -> list[gradwire.VersionStatus]:
        return [gradwire.VersionStatus(1, "AVAILABLE", "")]

    def labelled(self, label: str) -> int:
        raise gradwire.UsageError(label)

    def words(self, choice: Choice) -> tuple[list[str], str]:
        return ["one"], "gradwire.load('one')"

    def _open(self, version: int) -> gradwire.Model:
        return self._one
