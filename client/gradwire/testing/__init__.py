"""Fakes for tests of code that uses a ``Model``: no server, no TensorFlow, and failures on demand.

    log = gradwire.testing.FakeModel(np.log, lambda x: 1 / x)
    assert invert(log.connect(), 0.5) == pytest.approx(np.exp(0.5))
    assert len(log.calls) <= 6

Code that connects by itself is led to fakes by ``fake_server``, or in pytest by the fixture ``gradwire_fake``.
"""

from gradwire.testing._fake_model import FakeModel
from gradwire.testing._fake_server import fake_server
from gradwire.testing._recording import RecordedCall, RecordingTransport

__all__ = ["FakeModel", "RecordedCall", "RecordingTransport", "fake_server"]
