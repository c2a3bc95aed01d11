"""Processes of their own, for the tests that need several at once or one to be killed."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext


def forkserver() -> ForkServerContext:
    """Processes are forked from a server that has imported, once for all tests, what takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "fewtune.providers.local",
            "transformers.models.llama.modeling_llama",
            "fewtune.service.worker.process",
            "fewtune.service.app",
        ]
    )
    return context
