"""Pictures of fits, one kind a file."""

from gradwire_training.pictures._draw import draw, pictures_of, save
from gradwire_training.pictures._efficiency import efficiency_picture
from gradwire_training.pictures._figure import Picture

__all__ = ["Picture", "draw", "efficiency_picture", "pictures_of", "save"]
