"""Samples: read, checked, split, and drawn from known functions."""

from gradwire_training._data.columns import (
    ColumnKey,
    Derivatives,
    Table,
    known_counts,
    known_mean,
    mean_and_deviation,
)
from gradwire_training._data.designs import SPACINGS
from gradwire_training._data.replicates import number_points, shows_noise
from gradwire_training._data.samples import Provenance, Samples, with_noise
from gradwire_training._data.split import hold_out, split_pins
from gradwire_training._data.stream import Block, Stream
from gradwire_training._data.truth import Quantity, SamplingDistribution, Truth

__all__ = [
    "SPACINGS",
    "Block",
    "ColumnKey",
    "Derivatives",
    "Provenance",
    "Quantity",
    "Samples",
    "SamplingDistribution",
    "Stream",
    "Table",
    "Truth",
    "hold_out",
    "known_counts",
    "known_mean",
    "mean_and_deviation",
    "number_points",
    "shows_noise",
    "split_pins",
    "with_noise",
]
