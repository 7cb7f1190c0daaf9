"""Networks that come along, ready to be fitted, and the choice of one by held-out rows."""

from gradwire_training._models import atoms, is_of_atoms, mlp
from gradwire_training.networks._choice import ChosenNetwork, choose

__all__ = ["ChosenNetwork", "atoms", "choose", "is_of_atoms", "mlp"]
