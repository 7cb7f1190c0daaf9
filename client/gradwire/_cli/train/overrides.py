"""What the caller of `gradwire train` wishes otherwise than the problem has it: the network, and the loss's weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from gradwire._cli.choices import Loss
from gradwire._errors import UsageError

if TYPE_CHECKING:
    from gradwire._cli.choices import Activation


@final
@dataclass(frozen=True, slots=True)
class Wish:
    """What to have otherwise; None leaves a thing as it is.

    Attributes:
        widths: units of the hidden layers.
        activation: of the hidden layers.
        value_weight: of the loss ``sobolev``.
        derivative_weight: of the loss ``sobolev``.
    """

    widths: tuple[int, ...] | None = None
    activation: Activation | None = None
    value_weight: float | None = None
    derivative_weight: float | None = None

    @property
    def layers(self) -> dict[str, Any]:
        """The network's part, as arguments of ``gradwire_training.mlp``; empty where nothing is wished."""
        wished: dict[str, Any] = {} if self.widths is None else {"widths": self.widths}
        return wished if self.activation is None else {**wished, "activation": self.activation.value}

    def sobolev(self, training: Any) -> Any:
        """Builds the loss ``sobolev``."""
        return training.Sobolev(value_weight=self.value_weight, derivative_weight=self.derivative_weight)

    def check(self, loss: Loss) -> None:
        """Refuses weights for a loss that has none.

        Raises:
            UsageError: there are some.
        """
        weights = {"--value-weight": self.value_weight, "--derivative-weight": self.derivative_weight}
        given = [name for name, weight in weights.items() if weight is not None]
        if given and loss is not Loss.SOBOLEV:
            raise UsageError(f"{given[0]} is for --loss sobolev, and the loss is {loss.value}: leave it out")


def read_widths(text: str | None) -> tuple[int, ...] | None:
    """Reads the hidden layers' units, such as ``20,20``.

    Raises:
        UsageError: they are no whole numbers above 0.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--network {text!r}, expected the units of each hidden layer, such as 20,20")
    return tuple(int(part) for part in parts)
