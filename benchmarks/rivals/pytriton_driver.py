"""nvidia-pytriton: the Triton binary that it brings, and its gRPC client; f and 1/x as two outputs of one infer."""

from __future__ import annotations

import os
import sysconfig

import numpy as np
from _wire import HOST, run

ROWS = 1 << 18  # Triton wants to know the largest batch


def log_and_slope(requests: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    return [{"f": np.log(data["x"]), "df_dx": 1 / data["x"]} for data in (r.data for r in requests)]


class PyTriton:
    packages = ("nvidia-pytriton", "tritonclient")

    def serve(self, port: int) -> None:
        from pytriton.model_config import ModelConfig, Tensor
        from pytriton.triton import Triton, TritonConfig

        # Triton's Python backend has to find the libpython of this interpreter before the system's.
        os.environ["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
        config = TritonConfig(
            http_address=HOST,
            http_port=port + 1,
            grpc_address=HOST,
            grpc_port=port,
            metrics_port=port + 2,
            allow_metrics=False,
        )
        one = {"dtype": np.float64, "shape": (1,)}
        with Triton(config=config) as triton:
            triton.bind(
                model_name="log",
                infer_func=log_and_slope,
                inputs=[Tensor(name="x", **one)],
                outputs=[Tensor(name="f", **one), Tensor(name="df_dx", **one)],
                config=ModelConfig(max_batch_size=ROWS, batcher=None, batching=True),
            )
            triton.serve()

    def connect(self, target: str) -> None:
        from pytriton.client import ModelClient

        self.client = ModelClient(f"grpc://{target}", "log", init_timeout_s=30, inference_timeout_s=60)
        self.client.infer_batch(np.ones((1, 1)))

    def both(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        response = self.client.infer_batch(x[:, None])
        return response["f"][:, 0], response["df_dx"][:, 0]


if __name__ == "__main__":
    run(PyTriton())
