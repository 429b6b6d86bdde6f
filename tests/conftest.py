"""Set-up for all tests."""

from __future__ import annotations

import signal

# Whoever starts the tests in the background of a shell has them ignore Ctrl-C, and with them every
# program that they start; some tests interrupt one.
signal.signal(signal.SIGINT, signal.default_int_handler)
