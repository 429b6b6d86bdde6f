"""Set-up for all tests."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator

import pytest
import seaweed as seaweed_server
from hypothesis import HealthCheck, settings
from postgresql_server import PostgresqlServer, started

# Whoever starts the tests in the background of a shell has them ignore Ctrl-C, and with them every
# program that they start; some tests interrupt one.
signal.signal(signal.SIGINT, signal.default_int_handler)

# One thread of OpenMP and of BLAS for each process of the tests, before numpy and torch are there: for
# matrices so small more cost far more than they give, and the tests run on every core already. What
# must be the same with several threads says how many.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says something of the machine alone.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seaweed_server.Seaweed]:
    """A running SeaweedFS, for all tests of a process."""
    with seaweed_server.running(tmp_path_factory.mktemp("seaweed")) as running:
        yield running


@pytest.fixture
def bucket_url(seaweed: seaweed_server.Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty place in a bucket, which this process and its children may write to."""
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{seaweed_server.BUCKET}/test-{next(_numbers)}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server; a test makes a database of its own in it."""
    with started() as server:
        yield server
