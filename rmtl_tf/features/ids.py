"""The first ids of every categorical input."""

from __future__ import annotations

PADDING_ID = 0
UNKNOWN_ID = 1  # unknown or missing
FIRST_ID = 2
