"""Tuning and sampling with torch; nothing outside this package imports it."""

import warnings

# On import transformers loads tqdm, which in a notebook without ipywidgets warns that it cannot draw its bars.
warnings.filterwarnings("ignore", message="IProgress not found")
