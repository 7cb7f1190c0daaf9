"""The REST front end: TensorFlow Serving's REST API and its page of metrics, over the core."""

from gradwire_serving._rest.front_end import RestFrontEnd

__all__ = ["RestFrontEnd"]
