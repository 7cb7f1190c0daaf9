"""Chunked, retried gRPC calls: a scheduler without input or output, and what carries it out."""

from gradwire._grpc.call import Chunk, Outgoing
from gradwire._grpc.channel import KEEP_ALIVE, Pairs
from gradwire._grpc.chunking import MESSAGE_LIMIT
from gradwire._grpc.explain import explain
from gradwire._grpc.fork import GATE, check_fork, check_loop
from gradwire._grpc.runner import Events, run_calls
from gradwire._grpc.scheduler import IN_FLIGHT, CallScheduler
from gradwire._grpc.session import DirectCall, GrpcSession
from gradwire._grpc.status import RpcStatus, status_of
from gradwire._grpc.tracing import CallSpans, RequestSpan, is_tracing

__all__ = [
    "GATE",
    "IN_FLIGHT",
    "KEEP_ALIVE",
    "MESSAGE_LIMIT",
    "CallScheduler",
    "CallSpans",
    "Chunk",
    "DirectCall",
    "Events",
    "GrpcSession",
    "Outgoing",
    "Pairs",
    "RequestSpan",
    "RpcStatus",
    "check_fork",
    "check_loop",
    "explain",
    "is_tracing",
    "run_calls",
    "status_of",
]
