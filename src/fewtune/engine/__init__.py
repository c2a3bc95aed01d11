"""Tuning and sampling with torch; nothing outside this package imports it."""
