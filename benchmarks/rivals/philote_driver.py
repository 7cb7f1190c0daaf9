"""Philote-MDO's explicit server and client: f and 1/x as two outputs of one ComputeFunction, the cheapest that it has.

ComputeGradient sends a dense Jacobian, 8·rows² bytes, so a user who asks for it pays far more. Shapes are agreed on
before the clock runs, and messages hold 100,000 numbers, not the default's 1,000, which is slower.
"""

from __future__ import annotations

import threading
from concurrent import futures

import grpc
import numpy as np
from _wire import HOST, run
from philote_mdo.general import ExplicitClient, ExplicitDiscipline, ExplicitServer
from philote_mdo.generated.data_pb2 import kInput, kOutput

NUMBERS = 100_000  # a message; gRPC's limit is 4 MB


class Log(ExplicitDiscipline):
    def setup(self) -> None:
        self.add_input("x", dynamic_shape=True)
        self.add_output("f", dynamic_shape=True)
        self.add_output("df_dx", dynamic_shape=True)

    def compute(self, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
        outputs["f"] = np.log(inputs["x"])
        outputs["df_dx"] = 1 / inputs["x"]


class Philote:
    packages = ("philote-mdo", "grpcio")
    rows = 0

    def serve(self, port: int) -> None:
        server = grpc.server(futures.ThreadPoolExecutor(4))
        discipline = ExplicitServer()
        discipline.attach_discipline(Log())
        discipline.attach_to_server(server)
        server.add_insecure_port(f"{HOST}:{port}")
        server.start()
        threading.Event().wait()

    def connect(self, target: str) -> None:
        self.client = ExplicitClient(grpc.insecure_channel(target))
        self.client._stream_options.num_double = NUMBERS  # it has no public way
        self.client.send_stream_options()
        self._agree(1)

    def both(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(x) != self.rows:
            self._agree(len(x))
        response = self.client.run_compute({"x": x})
        return response["f"], response["df_dx"]

    def _agree(self, rows: int) -> None:
        self.client._var_meta.clear()
        self.client.run_setup()
        self.client.get_variable_definitions()
        kinds = {"x": kInput, "f": kOutput, "df_dx": kOutput}
        self.client.send_variable_shapes(
            [self.client.set_variable_shape(name, (rows,), kind) for name, kind in kinds.items()]
        )
        self.rows = rows


if __name__ == "__main__":
    run(Philote())
