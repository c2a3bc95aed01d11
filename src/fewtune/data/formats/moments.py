"""Dates, times and durations as text."""

from __future__ import annotations

import datetime


def moment(value: datetime.date | datetime.time) -> str:
    """2024-01-31, 13:45:00, or 2024-01-31 13:45:00."""
    return value.isoformat(" ") if isinstance(value, datetime.datetime) else value.isoformat()


def duration(value: datetime.timedelta) -> str:
    """Hours, minutes and seconds, as spreadsheets show them: 25:30:00."""
    seconds = abs(value) // datetime.timedelta(seconds=1)
    rest = abs(value) % datetime.timedelta(seconds=1)
    fraction = f".{rest.microseconds:06}".rstrip("0") if rest else ""
    sign = "-" if value < datetime.timedelta() else ""
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}"
