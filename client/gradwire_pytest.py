"""The pytest plugin of Gradwire: the fixture ``gradwire_fake``.

pytest imports this module in every run of an environment that has Gradwire, so it imports nothing until it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def gradwire_fake() -> Iterator[Callable[..., Any]]:
    """Serve a fake that ``gradwire.connect`` leads to: ``gradwire_fake(np.log, lambda x: 1 / x, name="log")``.

    The arguments are those of ``gradwire.testing.FakeModel``, which it returns. See ``gradwire.testing.fake_server``.
    """
    from gradwire.testing import fake_server

    with fake_server() as serve:
        yield serve
