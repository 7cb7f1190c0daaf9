"""What a fit does between its steps: progress and checkpoints."""

from gradwire_training._progress.checkpoint import Arrays, Checkpoint, network_in
from gradwire_training._progress.monitor import Callback, Monitor, Progress, Status
from gradwire_training._progress.percent import percent

__all__ = ["Arrays", "Callback", "Checkpoint", "Monitor", "Progress", "Status", "network_in", "percent"]
