"""TensorFlow Serving's messages, to and from the core: tensors, states, and the warm-up requests in a package."""

from gradwire_serving._wire.model_status import model_status
from gradwire_serving._wire.predict import PredictCall, read_request, response
from gradwire_serving._wire.warmup import warm_up

__all__ = ["PredictCall", "model_status", "read_request", "response", "warm_up"]
