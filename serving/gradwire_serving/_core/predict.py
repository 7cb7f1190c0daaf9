"""One PredictRequest on one servable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradwire_serving._wire import decode

if TYPE_CHECKING:
    import numpy as np
    from tensorflow_serving.apis import predict_pb2

    from gradwire_serving._core.servable import Servable


def predict(
    servable: Servable, request: predict_pb2.PredictRequest, timeout: float | None = None
) -> dict[str, np.ndarray]:
    """Runs the signature that a request names, on the tensors that it carries.

    Args:
        servable: what runs it; the request's model and version are not looked at.
        request: as it was sent.
        timeout: seconds after which the computation is stopped; None for no limit.

    Returns:
        The outputs that the request's filter names, or all.

    Raises:
        ServerError: with the code and the text that TensorFlow Serving answers, the first of its checks that fails.
    """
    call = servable.call(request.model_spec.signature_name)
    call.check_inputs(request.inputs)
    inputs = {alias: decode(tensor, alias) for alias, tensor in request.inputs.items()}
    return call.run(inputs, call.select_outputs(request.output_filter), timeout)
