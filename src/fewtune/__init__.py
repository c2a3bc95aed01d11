"""fewtune turns a few hundred examples into the best language model for them that the money buys.

    run = fewtune.run("episodes.csv")
    run.best, run.report_path, run.generate("The Clockwork Moon")

Every name is loaded when it is first used, so that `import fewtune` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewtune.errors import FewtuneError
    from fewtune.evaluation.own_metric import metric
    from fewtune.experiment.comparing import compare
    from fewtune.experiment.face import (
        Run,
        estimate,
        find_run,
        open_run,
        prepare,
        resume,
        run,
        runs,
        sweep,
        train,
    )
    from fewtune.types import Example, Plan

__all__ = [
    "Example",
    "FewtuneError",
    "Plan",
    "Run",
    "__version__",
    "compare",
    "estimate",
    "find_run",
    "metric",
    "open_run",
    "prepare",
    "resume",
    "run",
    "runs",
    "sweep",
    "train",
]

__version__ = "0.1.0"

_HOMES = {
    "fewtune.types": ("Example", "Plan"),
    "fewtune.errors": ("FewtuneError",),
    "fewtune.evaluation.own_metric": ("metric",),
    "fewtune.experiment.comparing": ("compare",),
    "fewtune.experiment.face": (
        "Run",
        "estimate",
        "find_run",
        "open_run",
        "prepare",
        "resume",
        "run",
        "runs",
        "sweep",
        "train",
    ),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'fewtune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
