"""What `gradwire train` reads of the network and of the loss's weights."""

from __future__ import annotations

import pytest

from gradwire._cli.choices import Activation, Loss
from gradwire._cli.train.overrides import Wish, read_widths
from gradwire._errors import UsageError


def test_widths_are_whole_numbers_above_zero():
    """One number a hidden layer; none leaves the network as it is."""
    assert read_widths("20,20") == (20, 20)
    assert read_widths(" 64 ") == (64,)
    assert read_widths(None) is None
    for text in ("", "20,", "0", "-3", "2.5", "a"):
        with pytest.raises(UsageError, match=r"expected the units of each hidden layer, such as 20,20"):
            read_widths(text)


def test_what_is_not_wished_is_left_to_the_problem():
    """Only what was given is passed on to the network."""
    assert Wish().layers == {}
    assert Wish(widths=(3,)).layers == {"widths": (3,)}
    assert Wish(activation=Activation.TANH).layers == {"activation": "tanh"}


@pytest.mark.parametrize("loss", [Loss.VALUE, Loss.DERIVATIVE])
def test_weights_are_for_values_and_derivatives_together(loss):
    """A weight that would not be looked at is refused, by the option's name."""
    Wish(value_weight=2.0).check(Loss.SOBOLEV)
    Wish().check(loss)
    with pytest.raises(UsageError, match=f"--derivative-weight is for --loss sobolev, and the loss is {loss.value}"):
        Wish(derivative_weight=2.0).check(loss)
