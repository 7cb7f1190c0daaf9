"""The pictures of a fit."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import keras
import numpy as np
import pytest
from matplotlib import pyplot as plt

from gradwire._errors import PackageError, UsageError
from gradwire_training import draw, fit
from gradwire_training._draw import _Curve
from gradwire_training.problems import Quantity

PICTURES = ["value.png", "derivative.png", "error.png", "history.png"]


def _pixels(path):
    """Decodes an 8-bit PNG far enough to tell what is drawn: its size and its distinct filtered rows."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    start, packed = 8, b""
    while start < len(data):
        (length,) = struct.unpack(">I", data[start : start + 4])
        if data[start + 4 : start + 8] == b"IDAT":
            packed += data[start + 8 : start + 8 + length]
        start += length + 12
    return width, height, np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1)


@pytest.fixture(scope="module")
def drawn(quick, log, tmp_path_factory):
    """The quick fit's pictures."""
    return draw(quick, log.truth, to=tmp_path_factory.mktemp("drawn") / "deeper")


def test_four_pictures_are_written(drawn):
    """Value, derivative, errors and history; pyplot, which would keep the figures alive, has none of them."""
    assert [path.name for path in drawn] == PICTURES
    assert plt.get_fignums() == []


@pytest.mark.parametrize("index", range(4), ids=PICTURES)
def test_each_picture_shows_something(drawn, index):
    """It is 1080 x 675, and most of its rows differ from an empty one."""
    width, height, rows = _pixels(drawn[index])
    assert (width, height) == (1080, 675)
    assert len(np.unique(rows, axis=0)) > height / 4


def test_only_labels_that_were_fitted_are_drawn(log):
    """A fit of values alone shows no derivative samples; one of derivatives shows its pins."""
    curves = {
        loss: _Curve(
            fit(log.network(), log.samples(), loss=log.loss(loss), optimizer="sgd", steps=2), log.truth
        )
        for loss in ("value", "derivative", "sobolev")
    }
    drawn = {
        loss: (int(np.isfinite(curve.sample_y).sum()), int(np.isfinite(curve.sample_slope).sum()))
        for loss, curve in curves.items()
    }
    assert drawn == {"value": (19, 0), "derivative": (1, 19), "sobolev": (19, 19)}
    pinned = np.isfinite(curves["derivative"].sample_y)
    assert curves["derivative"].sample_x[pinned].tolist() == [1.0]


def test_a_fit_without_a_finite_value_is_drawn(log, tmp_path):
    """Where there is nothing to show the axes stay empty: a diverged fit has pictures too."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1), keras.layers.Rescaling(float("inf"))])
    result = fit(model, log.samples(), optimizer="sgd", steps=3)
    assert [path.name for path in draw(result, log.truth, to=tmp_path)] == PICTURES


def test_what_is_not_a_curve_is_refused(quick, log, tmp_path):
    """A function of two numbers has no such pictures."""
    with pytest.raises(UsageError, match="is not a function of one number: only those are drawn"):
        draw(quick, replace(log.truth, inputs=(Quantity("x", shape=(2,)),)), to=tmp_path)


def test_a_place_that_cannot_be_written_is_refused(quick, log, tmp_path):
    """A file where the directory should be is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match=r"cannot write pictures to .*give another place"):
        draw(quick, log.truth, to=tmp_path / "file")
