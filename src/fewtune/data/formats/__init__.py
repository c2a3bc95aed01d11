"""Files of every format that is read, opened as tables of records."""

from fewtune.data.formats.open import Opened, open_data

__all__ = ["Opened", "open_data"]
