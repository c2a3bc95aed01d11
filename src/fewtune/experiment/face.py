"""The Python face: what a notebook, a script and the command line call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

from fewtune import settings as configuration
from fewtune.data.formats.open import keep_standard_input
from fewtune.errors import UsageError
from fewtune.experiment import run as runner
from fewtune.experiment.agreeing import whole_estimate
from fewtune.experiment.answering import TEMPERATURES
from fewtune.experiment.answering_options import with_answering
from fewtune.experiment.axes import check_single, read_axes
from fewtune.experiment.display import RunList
from fewtune.experiment.estimating import Estimate
from fewtune.experiment.folder import is_held
from fewtune.experiment.given import columns_given, halving_given, recipe_named, size_given
from fewtune.experiment.named_metrics import named_metrics
from fewtune.experiment.notebook import watched
from fewtune.experiment.options import Options, RunOptions
from fewtune.experiment.preparation import Decide, Prepared, prepare_rows
from fewtune.experiment.progress import Watch
from fewtune.experiment.proxying import proxy_of
from fewtune.experiment.searching import default_rates, rate_kind, search_plan
from fewtune.experiment.settings import RunSettings
from fewtune.experiment.settings import Values as Stored
from fewtune.providers.contract import BASE, Chunk, Provider, Request
from fewtune.providers.refusal import answered
from fewtune.report import html
from fewtune.report.notebook import summary_html
from fewtune.report.prediction_files import write_predictions
from fewtune.report.summary import Summary, TrialLine
from fewtune.search.budget import Budget
from fewtune.store.runs import RunRecord, Runs

if TYPE_CHECKING:
    from fewtune.experiment.exporting import Export

_TRAIN_EPOCHS = (4,)
_TRAIN_COOLDOWN = 0.1


class Run:
    """A finished run: its summary, its report and its model."""

    def __init__(self, record: RunRecord) -> None:
        if record.summary is None:
            raise UsageError(
                f"The run {record.id} is {record.state}, not finished.", fix=f"Go on with: fewtune resume {record.id}"
            )
        self._record = record
        self.summary = Summary.from_json(record.summary)

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def best(self) -> TrialLine:
        """The chosen plan, with what was measured of it."""
        return next(trial for trial in self.summary.trials if trial.id == self.summary.chosen)

    @property
    def report_path(self) -> Path:
        return Path(self.summary.files["report"])

    def generate(
        self, prompt: str, *, max_tokens: int = 256, temperature: float | None = None, seed: int = 0, tuned: bool = True
    ) -> str:
        """The answer to one prompt; `tuned=False` asks the bare base.

        Temperature 0 is the most likely text; None is what the run was judged with.
        """
        return "".join(self.stream(prompt, max_tokens=max_tokens, temperature=temperature, seed=seed, tuned=tuned))

    def stream(
        self, prompt: str, *, max_tokens: int = 256, temperature: float | None = None, seed: int = 0, tuned: bool = True
    ) -> Iterator[str]:
        """The same answer in pieces, as they are written."""
        if not prompt.strip():
            raise UsageError("The prompt is empty.", fix="Give some text.")
        if temperature is None:
            temperature = TEMPERATURES[self.summary.data.task]
        request = Request(id=0, prompt=prompt, max_tokens=max_tokens, temperature=temperature, seed=seed)
        for reply in answered(self._provider.sample(self._model if tuned else BASE, [request])):
            if isinstance(reply, Chunk):
                yield reply.text

    def export(self, out: str | Path, *, format: str = "peft") -> Export:
        """Write the tuned model to the folder `out` as `peft`, `merged` or `gguf`, and score the held-out rows from it.

        Raises UsageError for an `out` that is taken and for a run whose weights are elsewhere, and FewtuneError
        where the written model would not answer as the trained one does; `out` is then not made.
        """
        from fewtune.experiment.exporting import export

        _ = self._folder
        return export(self.summary, self._model, format, Path(out))

    @property
    def _folder(self) -> Path:
        folder = Path(self._record.folder)
        if not folder.is_dir():
            raise UsageError(
                "The run's folder is gone.", where=str(folder), fix=f"Make it again with: fewtune resume {self.id}"
            )
        return folder

    def write_report(self) -> Path:
        """Write the report again, from what is stored; raises UsageError where the run's folder is gone."""
        _ = self._folder
        html.write(self.summary, self.report_path)
        return self.report_path

    def write_predictions(self, path: str | Path) -> Path:
        """Every system's answers to the held-out rows: `.csv` for a spreadsheet, `.jsonl` for a program."""
        return write_predictions(self.summary, Path(path))

    def write_charts(self, folder: str | Path) -> list[Path]:
        """Every chart of the report as SVG and PNG into `folder`, which is made."""
        # Only here, as in the report: what draws takes most of a second to import.
        from fewtune.report.pictures import write_charts

        return write_charts(self.summary, Path(folder))

    @cached_property
    def _provider(self) -> Provider:
        from fewtune import providers
        from fewtune.providers.contract import Workspace

        folder = self._folder / "trials"
        settings = runner.rerun(self._record)
        workspace = Workspace(
            base=self.summary.base,
            examples={},
            folder=folder,
            precision=settings.base_precision,
            recipe=settings.recipe,
        )
        elsewhere = providers.kind(self.summary.provider).elsewhere
        return providers.connect("local" if elsewhere else self.summary.provider, workspace)

    @property
    def _model(self) -> str:
        models = {(one.trial_id, one.epoch): one.model for one in _store().checkpoints(self.id)}
        refit, best = self.summary.refit, self.best
        if refit and refit.state == "finished":
            return models[refit.id, refit.plan["epochs"]]
        return models[best.trunk, best.plan["epochs"]]

    def __repr__(self) -> str:
        return f"Run({self.id!r}: {self.summary.verdict})"

    def _repr_html_(self) -> str:
        return summary_html(self.summary)


def run(data: str | Path, **options: Unpack[RunOptions]) -> Run:
    """Check and split the data, train, choose, judge against base and few-shot prompt, write the report.

    The options are those of `RunOptions`. Raises FewtuneError; after an interruption the same call goes on
    where it was.
    """
    return _execute(str(data), options, evaluate=True)


def sweep(data: str | Path, **options: Unpack[RunOptions]) -> Run:
    """Say whether to tune at all, and name the best plan; takes the options of `run`, leaves the test rows alone."""
    return _execute(str(data), options, evaluate=False)


def train(data: str | Path, **options: Unpack[RunOptions]) -> Run:
    """Train one plan, its rate falling over the last tenth of the steps; takes the options of `run`."""
    epochs = options.get("epochs") or _TRAIN_EPOCHS
    return _execute(str(data), {**options, "epochs": epochs}, evaluate=False, single=True)


def resume(
    name: str,
    *,
    address: str | None = None,
    budget_minutes: float | None = None,
    budget_usd: float | None = None,
    budget_tokens: float | None = None,
    track: Sequence[str] | None = None,
    watch: Watch | None = None,
) -> Run:
    """Go on with a run that was stopped or killed; a finished one is only opened, and told to `track`.

    A budget that is not given again stays as it was. Trackers have to be named again.

    Raises DataError when its data has changed since.
    """
    record = find_run(name)
    with watched(watch) as watcher:
        settings = runner.rerun(record)
        done = runner.execute(
            settings,
            home=configuration.load().home,
            out=Path(record.folder),
            address=_address(address, settings.provider),
            budget=Budget(minutes=budget_minutes, usd=budget_usd, tokens=budget_tokens),
            track=track or (),
            watch=watcher,
        )
    return open_run(done.id)


def prepare(data: str | Path, *, decide: Decide | None = None, **options: Unpack[Options]) -> Prepared:
    """Read, check, repair and split; nothing is written until `.write(folder)`.

    `decide` is asked, finding by finding, whether to make its repair; without it the recommended ones are made.
    """
    return prepare_rows(_settings(str(data), options), decide)


def estimate(data: str | Path, **options: Unpack[Options]) -> Estimate:
    """Tokens, dollars and time of the sweep that the same options would make; nothing is trained or sent."""
    settings = _settings(str(data), options, searches=True)
    prepared = prepare_rows(settings)
    found = whole_estimate(settings, prepared, search_plan(settings, prepared))
    proxy = proxy_of(settings, prepared)
    return replace(found, searched=whole_estimate(proxy.settings, proxy.prepared, proxy.search)) if proxy else found


def open_run(name: str) -> Run:
    """A finished run by id, by the beginning of one, by folder, or `last`."""
    return Run(find_run(name))


def find_run(name: str) -> RunRecord:
    """What the store holds of a run, finished or not; raises UsageError when there is none."""
    return _as_it_stands(_store().find(name))


def runs() -> RunList:
    """Every run in the store, the newest first."""
    return RunList(_as_it_stands(record) for record in _store().all())


def _as_it_stands(record: RunRecord) -> RunRecord:
    """A killed run could not say so: one that is `running` but held by no process has stopped."""
    if record.state == "running" and not is_held(Path(record.folder)):
        return replace(record, state="stopped")
    return record


def _store() -> Runs:
    return Runs(configuration.load().home)


def _execute(data: str, options: RunOptions, *, evaluate: bool, single: bool = False) -> Run:
    out = options.get("out")
    common = {name: value for name, value in options.items() if name in Options.__annotations__}
    unknown = set(options) - set(RunOptions.__annotations__)
    if unknown:
        raise UsageError(f"There is no option {min(unknown)!r}.", fix="See the docstring of fewtune.run.")
    if data == "-":
        data = str(keep_standard_input(configuration.load().home / "stdin"))
    settings = _settings(data, cast(Options, common), searches=not evaluate and not single)
    metrics = named_metrics(options.get("metrics") or ())
    settings = replace(
        settings,
        evaluate=evaluate,
        metrics=tuple(metrics),
        primary=options.get("primary"),
        json_schema=None if (schema := options.get("json_schema")) is None else str(schema),
        reference_columns=columns_given(options.get("reference_columns")),
    )
    settings = with_answering(settings, options)
    if single:
        rates, refit = _single_rate(settings), bool(settings.refit)
        settings = replace(settings, cooldown=_TRAIN_COOLDOWN, learning_rates=rates, refit=refit)
        check_single(settings)
    with watched(options.get("watch")) as watch:
        done = runner.execute(
            settings,
            home=configuration.load().home,
            out=Path(out) if out else None,
            budget=_budget(options),
            address=_address(options.get("address"), settings.provider),
            track=options.get("track") or (),
            watch=watch,
            metrics={name: given for name, given in metrics.items() if given is not None},
        )
    return open_run(done.id)


def _single_rate(settings: RunSettings) -> Stored:
    """Of the default rates the middle one."""
    if settings.learning_rates:
        return settings.learning_rates
    rates = sorted(default_rates(settings))
    return (rates[len(rates) // 2],)


def _settings(data: str, options: Options, *, searches: bool = False) -> RunSettings:
    from fewtune import providers

    common = configuration.load(base=options.get("base"), provider=options.get("provider"), seed=options.get("seed"))
    default = RunSettings(data=data)
    search_on = options.get("search_on")
    searches = searches or search_on is not None
    local = providers.kind(common.provider).local_base
    axes = read_axes(options, rate_kind("local" if search_on else common.provider))
    halving, folds = (
        halving_given(options.get("halving"), options.get("rung_share"), options.get("median_stop"), searches),
        options.get("folds"),
    )
    return RunSettings(
        data=str(Path(data)),
        base=common.base,
        provider=common.provider,
        four_bit=common.four_bit and local,
        precision=common.precision if local else None,
        seed=common.seed,
        **axes,
        searcher=options.get("searcher"),
        trials=options.get("trials"),
        halving=halving,
        rung_share=options.get("rung_share"),
        median_stop=bool(options.get("median_stop")),
        folds=default.folds if folds is None and not searches else folds,
        search_on=search_on,
        score=options.get("score") or default.score,
        refit=options.get("refit"),
        average_refit=bool(options.get("average_refit")),
        more_data=bool(options.get("more_data")),
        gradient_accumulation=options.get("gradient_accumulation") or default.gradient_accumulation,
        averaged_checkpoints=options.get("averaged_checkpoints") or default.averaged_checkpoints,
        valid_file=valid_file if (valid_file := options.get("valid_file")) is None else str(valid_file),
        recipe=recipe_named(options.get("recipe")),
        prompt_column=options.get("prompt_column"),
        completion_column=options.get("completion_column"),
        prompt_template=options.get("prompt_template"),
        group_column=options.get("group_column"),
        refused_repairs=tuple(options.get("no_repair") or ()),
        accepted_repairs=tuple(options.get("repair") or ()),
        valid=size_given(options.get("valid")),
        test=size_given(options.get("test")),
        task=options.get("task"),
    )


def _address(given: str | None, provider: str) -> str | None:
    """Of the cluster, where the provider has one. It is no part of the run: that may go on in another cluster."""
    from fewtune import providers

    if providers.kind(provider).elsewhere:
        return configuration.load(address=given).address
    if given is not None:
        raise UsageError(
            f"--provider {provider} has no address.", where="--address", fix="Leave it out, or use --provider ray."
        )
    return None


def _budget(options: RunOptions) -> Budget:
    return Budget(
        minutes=options.get("budget_minutes"), usd=options.get("budget_usd"), tokens=options.get("budget_tokens")
    )
