"""A moto account for each test of a command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from tests.conftest import Values
from tests.ops.world import Wire, World


@pytest.fixture(scope="session")
def wire() -> Wire:
    return Wire()


@pytest.fixture
def world(values: Values, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    # Moto makes its thousands of images anew for each test otherwise, and none is needed.
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        yield wire.make_world(values)
