"""The asynchronous twin: the same ``Model``, whose methods are awaited.

async with await gradwire.aio.connect("localhost:8500", "log") as log:
    f, df_dx = await log.value_and_grad(x)
"""

from __future__ import annotations

from gradwire.aio._connect import connect, load
from gradwire.aio._grpc import GrpcTransport
from gradwire.aio._model import Model
from gradwire.aio._transport import InThreads, Transport

__all__ = ["GrpcTransport", "InThreads", "Model", "Transport", "connect", "load"]
