"""Networks that come along, ready to be fitted."""

from gradwire_training._models import atoms, is_of_atoms, mlp

__all__ = ["atoms", "is_of_atoms", "mlp"]
