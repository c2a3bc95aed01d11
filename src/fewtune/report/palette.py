"""Colours that follow the page, and its letters. What draws is imported elsewhere: that takes most of a second."""

from __future__ import annotations

INK = "var(--ink, #1d1c1a)"
DIM = "var(--dim, #66625b)"
RULE = "var(--rule, #e4e0d8)"
PAPER = "var(--paper, #fdfcfa)"
SERIES = (
    "var(--series-1, #0067b1)",
    "var(--series-2, #c2570c)",
    "var(--series-3, #007f5f)",
    "var(--series-4, #a23f8a)",
    "var(--series-5, #8a6d00)",
)
"""Told apart by people with any of the common colour blindnesses, and never the only sign of anything."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
