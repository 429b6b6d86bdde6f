"""Set-up for all tests."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Whoever starts the tests in the background of a shell has them ignore Ctrl-C, and with them every
# program that they start; some tests interrupt one.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something of the machine alone.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
