"""What happens between the steps of a fit: progress, and checkpoints."""

from gradwire_training._progress.checkpoint import Checkpoint, asked_of, digest_of
from gradwire_training._progress.monitor import Callback, Monitor, Progress, Status

__all__ = ["Callback", "Checkpoint", "Monitor", "Progress", "Status", "asked_of", "digest_of"]
