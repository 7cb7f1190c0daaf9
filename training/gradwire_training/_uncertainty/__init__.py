"""How sure a fitted network is: error bars of its values and derivatives, calibrated on rows that were not fitted."""

from gradwire_training._uncertainty.calibration import LabelledRows
from gradwire_training._uncertainty.uncertainty import NoUncertainty, Uncertainty, estimate

__all__ = ["LabelledRows", "NoUncertainty", "Uncertainty", "estimate"]
