"""What this machine has to train with."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from fewtune import settings
from fewtune.bases.folder import locate, open_encoder
from fewtune.bases.shape import shape
from fewtune.errors import FewtuneError, UsageError
from fewtune.store.runs import Runs
from fewtune.types import Plan, Precision

_ROW_TOKENS = 256
"""Of a row where there is no data to look at."""
_LARGEST_WIDTH = 1000
"""Nobody asks for more trials at a time."""


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    told: str


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a base takes of this machine's memory, and what fits beside it; sizes in bytes, at the peak."""

    base: str
    parameters: int
    device: str
    dtype: str
    """Of the base, and on a GPU of activations; adapters and their optimizer are fp32."""
    workers: int
    """They compute at the same time, each for one trial; 1 on a GPU, where one pass is for many."""
    base_is_shared: bool
    """The workers are processes, children that share one copy of the base; else threads, which do by nature."""
    available_bytes: int | None
    """What training may take; null where nobody knows."""
    rank: int
    rows_per_step: int
    row_tokens: int
    """Of each row that the forecast is for."""
    base_bytes: int
    program_bytes: int
    """Python, torch, and what each worker has of its own."""
    activation_bytes: int
    """Of the passes that run at the same time."""
    total_bytes: int
    """With one trial of this rank and batch size."""
    trial_bytes: int
    """What each further one, trained beside it, takes more; some take less, since fewer gradients wait at a time."""
    width: int | None
    """How many such trials fit together, told up to 1000; 0 where not even one does, null where nobody knows."""
    longest_row: int | None
    """In tokens: the longest that fits where a step is this row alone, or the context where that is shorter."""
    context: int
    """The longest row that the base reads, in tokens."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    checks: tuple[Check, ...]
    memory: Fit | None
    """None without torch, or where the base is of no use, which a check then says."""


def fit(base: str, precision: Precision | None = None) -> Fit:
    """What training the base takes here; raises ImportError without torch, FewtuneError for a base of no use."""
    from fewtune.engine import memory

    at, context = memory.place(base, precision=precision), open_encoder(base).context
    plan = Plan(base=base, learning_rate=1.0)
    tokens = min(_ROW_TOKENS, context)
    one, two = (memory.work([plan] * trials, [tokens] * plan.rows_per_step) for trials in (1, 2))
    needed, limit = memory.forecast(at, one), memory.room(at)
    return Fit(
        base=base,
        parameters=at.shape.parameters,
        device=at.device,
        dtype=at.dtype,
        workers=at.workers,
        base_is_shared=at.forked,
        available_bytes=limit,
        rank=plan.rank,
        rows_per_step=plan.rows_per_step,
        row_tokens=tokens,
        base_bytes=needed.base,
        program_bytes=needed.program,
        activation_bytes=needed.activations,
        total_bytes=needed.total,
        trial_bytes=memory.forecast(at, two).total - needed.total,
        width=None if limit is None else min(_LARGEST_WIDTH, memory.widest(at, one, limit)),
        longest_row=None if limit is None else min(context, memory.longest(at, one, limit)),
        context=context,
    )


def diagnose(base: str | None = None) -> Diagnosis:
    """Every part that a run on this machine needs, in the order in which it would be missed, and what fits."""
    configured = settings.load(base=base)
    checks, memory = _checks(configured.base, configured.base_precision), None
    try:
        memory = fit(configured.base, configured.base_precision)
    except ImportError as error:
        checks += (Check("memory", False, f"not known without {error.name}"),)
    except FewtuneError as error:
        checks += (Check("memory", False, str(error)),)
    return Diagnosis(checks=checks, memory=memory)


def _checks(base: str, precision: Precision | None) -> tuple[Check, ...]:
    return (
        Check("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Check("cores", True, str(os.cpu_count())),
        _home(),
        _package("torch", "trains and samples here", "pip install 'fewtune[local]'"),
        _package("transformers", "knows the bases' architectures", "pip install 'fewtune[local]'"),
        _device(precision),
        _base(base),
        _package("openai", "talks to hosted services", "pip install 'fewtune[hosted]'"),
        _package("ray", "trains on a cluster", "pip install 'fewtune[ray]'"),
        Check("OPENAI_API_KEY", "OPENAI_API_KEY" in os.environ, _key()),
    )


def _home() -> Check:
    """Whether the state file opens, which is what every command needs."""
    home = settings.load().home
    try:
        Runs(home)
    except FewtuneError as error:
        return Check("state folder", False, str(error))
    return Check("state folder", True, f"{home}, {shutil.disk_usage(home).free / 2**30:.1f} GiB free")


def _package(name: str, purpose: str, fix: str) -> Check:
    try:
        return Check(name, True, f"{version(name)}, {purpose}")
    except PackageNotFoundError:
        return Check(name, False, f"{purpose}; get it with: {fix}")


def _device(precision: Precision | None) -> Check:
    try:
        from fewtune.engine.precision import told
    except ImportError:
        return Check("device", False, "none without torch")
    try:
        return Check("device", True, told(precision))
    except UsageError as error:
        return Check("device", False, str(error))


def _base(base: str) -> Check:
    """Whether it can be read: config, tokenizer and the headers of the weights."""
    try:
        open_encoder(base)
        found = shape(base)
        size = sum(path.stat().st_size for path in locate(base).glob("*.safetensors")) / 2**20
    except (FewtuneError, OSError) as error:
        return Check("base", False, str(error))
    told = f"{base}, {found.parameters / 1e6:,.1f} million parameters, {size:,.0f} MiB of weights"
    experts = "; a mixture of experts: adapters are on its attention only" if found.is_mixture else ""
    return Check("base", True, told + experts)


def _key() -> str:
    return "set" if "OPENAI_API_KEY" in os.environ else "not set; only --provider openai needs it"
