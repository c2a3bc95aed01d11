"""A base in use: its provider, what is asked of it, and what is trained over it."""

from __future__ import annotations

from dataclasses import dataclass

from fewtune import providers
from fewtune.bases.folder import describe, recipe_of
from fewtune.providers.contract import BASE, Provider, Request, Workspace
from fewtune.service.worker.archive import Adapters, Archive
from fewtune.service.worker.rows import Rows
from fewtune.service.worker.sampling import Sampling
from fewtune.service.worker.training import Training


@dataclass(frozen=True, kw_only=True, eq=False)
class Desk:
    base: str
    provider: Provider
    rows: Rows
    sampling: Sampling
    training: Training
    reads_tools: bool
    """Whether its prompts can show the tools of a conversation."""


class Desks:
    """One for each base that was needed so far."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._adapters = Adapters(archive)
        self._open: dict[str, Desk] = {}

    @property
    def bases(self) -> tuple[str, ...]:
        return tuple(self._open)

    def all(self) -> list[Desk]:
        return list(self._open.values())

    def of(self, base: str) -> Desk:
        """Raises FewtuneError where there is no such base, or it cannot be used."""
        if base not in self._open:
            self._open[base] = self._opened(base)
        return self._open[base]

    def warm(self, base: str) -> None:
        """Load it now, by the only thing that shows it to be whole: an answer."""
        question = Request(id=0, prompt="Hello", max_tokens=1)
        for _ in self.of(base).provider.sample(BASE, [question]):
            pass

    def _opened(self, base: str) -> Desk:
        settings, rows = self._archive.settings, Rows()
        local = providers.kind(settings.provider).local_base
        workspace = Workspace(
            base=base,
            examples=rows,
            folder=self._archive.workspace(base),
            precision=settings.precision if local else None,
            address=settings.address,
            adapters=self._adapters,
        )
        if local:
            # Before anything is kept of it: what is no base is said so by the one who asks for it.
            describe(base)
        provider = providers.connect(settings.provider, workspace)
        return Desk(
            base=base,
            provider=provider,
            rows=rows,
            sampling=Sampling(provider),
            training=Training(provider),
            reads_tools=not local or recipe_of(base) == "chat",
        )
