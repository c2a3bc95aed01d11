"""What the answers copy, on the fake provider: it answers with what it was shown."""

from __future__ import annotations
