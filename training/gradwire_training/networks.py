"""Networks that come along, ready to be fitted."""

from gradwire_training._models import atoms, mlp

__all__ = ["atoms", "mlp"]
