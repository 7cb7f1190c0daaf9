"""Chunked, retried gRPC calls: a scheduler without input or output, and what carries it out."""

from gradwire._grpc.channel import KEEP_ALIVE, channel_options, check_fork, compression, credentials
from gradwire._grpc.chunking import MESSAGE_LIMIT, Limits
from gradwire._grpc.errors import translate
from gradwire._grpc.limiter import Window
from gradwire._grpc.piece import Piece
from gradwire._grpc.runner import Events, drive
from gradwire._grpc.scheduler import IN_FLIGHT, Flight
from gradwire._grpc.status import Fault, fault_of

__all__ = [
    "IN_FLIGHT",
    "KEEP_ALIVE",
    "MESSAGE_LIMIT",
    "Events",
    "Fault",
    "Flight",
    "Limits",
    "Piece",
    "Window",
    "channel_options",
    "check_fork",
    "compression",
    "credentials",
    "drive",
    "fault_of",
    "translate",
]
