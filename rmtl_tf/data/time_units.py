"""Units of times since 1970, which tell themselves apart by their size."""

from __future__ import annotations

# Ticks a second -> the unit's tag in a schema.
UNITS = {1: "s", 1_000: "ms", 1_000_000: "us", 1_000_000_000: "ns"}
NAMES = {1: "seconds", 1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}

# Logs are of times from 2001 to 2099, in seconds: a number of ticks is that in one unit at most.
SINCE, BEFORE = 978_307_200, 4_102_444_800
