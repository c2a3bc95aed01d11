"""A finished run as a user would have it, to be changed field by field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from fewtune.report import html
from fewtune.report.data_part import ChangeLine, DataPart, FindingLine, MaskLine, MaskPiece
from fewtune.report.evaluation_part import (
    AnswerLine,
    CalibrationLine,
    Copying,
    EvaluationPart,
    Failing,
    FieldLine,
    Forgetting,
    Judged,
    LabelLine,
    LabelTable,
    MetricLine,
)
from fewtune.report.summary import (
    CurvePoint,
    Difference,
    Interval,
    MetricValue,
    PredictionLine,
    Summary,
    SystemLine,
    TrialLine,
)

RATES = {"a": 0.001, "b": 0.003, "c": 0.01}
STEPS_BY_EPOCH = 29


def valid_loss(rate: float, epoch: float) -> float:
    """A higher rate learns sooner and overfits sooner."""
    learnt = 1.1 * (rate / 0.003) ** 0.8 * epoch
    wrong_rate = 0.06 * abs(math.log10(rate / 0.003))
    return 1.85 + 1.1 * math.exp(-learnt) + 0.05 * max(0.0, learnt - 1.5) ** 1.3 + wrong_rate


def curve(rate: float) -> Iterator[CurvePoint]:
    for step in range(1, 4 * STEPS_BY_EPOCH + 1):
        epoch = step / STEPS_BY_EPOCH
        measured = step % STEPS_BY_EPOCH == 0
        noise = 0.12 * math.sin(step * 2.1 + 900 * rate) + 0.08 * math.sin(step * 0.73)
        yield CurvePoint(
            step=step,
            epoch=epoch,
            train_loss=1.75 + 1.5 * math.exp(-1.3 * epoch * (rate / 0.003) ** 0.5) - 0.1 * epoch * rate / 0.003 + noise,
            valid_loss=valid_loss(rate, epoch) if measured else None,
            valid_token_accuracy=0.55 - 0.05 * valid_loss(rate, epoch) if measured else None,
            valid_sequence_accuracy=0.0 if measured else None,
        )


def trial(trunk: str, epochs: int) -> TrialLine:
    loss = valid_loss(RATES[trunk], epochs)
    return TrialLine(
        id=f"{trunk}{epochs}",
        trunk=trunk,
        plan={
            "base": "pocket",
            "epochs": epochs,
            "batch_size": 4,
            "learning_rate": RATES[trunk],
            "rank": 8,
            "alpha": 16,
            "prompt_loss_weight": 0.0,
        },
        state="finished",
        failure=None,
        valid_loss=loss,
        valid_token_accuracy=0.55 - 0.05 * loss,
        valid_sequence_accuracy=0.0,
        tokens=8_214 * epochs,
        seconds=21.4 * epochs,
        usd=0.0,
    )


FINDINGS = (
    FindingLine(
        code="duplicate",
        severity="warning",
        count=4,
        sentence="4 rows say the same as an earlier row.",
        repair="The later ones were dropped.",
        rows=("episodes.csv:18", "episodes.csv:44", "episodes.csv:61", "episodes.csv:102"),
    ),
    FindingLine(
        code="empty_completion",
        severity="error",
        count=3,
        sentence="3 rows have nothing to learn: their completion is empty.",
        repair="They were dropped.",
        rows=("episodes.csv:7", "episodes.csv:52", "episodes.csv:90"),
    ),
    FindingLine(
        code="near_duplicate",
        severity="warning",
        count=12,
        sentence="12 rows are nearly the same as another row.",
        repair="Each such group was kept on one side of the split.",
        rows=tuple(f"episodes.csv:{line}" for line in range(20, 44, 2)),
    ),
    FindingLine(
        code="trailing_space",
        severity="note",
        count=9,
        sentence="9 completions end in spaces.",
        repair="The spaces were cut off.",
        rows=tuple(f"episodes.csv:{line}" for line in range(70, 79)),
    ),
    FindingLine(
        code="long_row",
        severity="note",
        count=1,
        sentence="1 row is far longer than the others (512 tokens, median 74).",
        repair=None,
        rows=("episodes.csv:33",),
    ),
)

DATA = DataPart(
    file="episodes.csv",
    sha256="9f2c1d0ab84f6e35c7710de2f1b5a1e77c09d8b3f4a2e6d5c8b7a6958473625f",
    rows_read=160,
    rows_kept=153,
    dropped={"duplicate": 4, "empty_completion": 3},
    findings=FINDINGS,
    train_rows=115,
    valid_rows=19,
    test_rows=19,
    train_tokens=10_942,
    trained_tokens=8_214,
    task="text",
    shape="prompt and completion",
    notes=("Cells are separated by semicolons.",),
    changes=(
        ChangeLine(source="episodes.csv:9", code="stray_whitespace", before=(" A title ", "x"), after=("A title", "x")),
        ChangeLine(source="episodes.csv:33", code="empty_completion", before=("The last one", ""), after=None),
    ),
    changes_made=2,
    mask=(
        MaskLine(
            source="episodes.csv:2",
            tokens=9,
            trained_tokens=5,
            pieces=(
                MaskPiece(text="The lamp ->", trained=False, stop=False),
                MaskPiece(text=" It goes <out>.", trained=True, stop=False),
                MaskPiece(text="<|end|>", trained=True, stop=True),
            ),
        ),
    ),
)


def measured(value: float, spread: float) -> MetricValue:
    return MetricValue(value=value, interval=Interval(low=value - spread, high=value + spread))


SYSTEMS = (
    SystemLine(
        name="base",
        rows=19,
        metrics={
            "loss": measured(3.012, 0.11),
            "chrf": measured(14.2, 1.6),
            "token_accuracy": measured(0.382, 0.021),
            "exact_match": MetricValue(value=0.0, interval=Interval(low=0.0, high=0.168)),
        },
    ),
    SystemLine(
        name="few-shot",
        rows=19,
        metrics={
            "loss": measured(2.487, 0.10),
            "chrf": measured(21.9, 1.9),
            "token_accuracy": measured(0.431, 0.022),
            "exact_match": MetricValue(value=0.0, interval=Interval(low=0.0, high=0.168)),
        },
    ),
    SystemLine(
        name="tuned",
        rows=19,
        metrics={
            "loss": measured(2.041, 0.09),
            "chrf": measured(26.3, 2.0),
            "token_accuracy": measured(0.478, 0.020),
            "exact_match": MetricValue(value=0.0, interval=Interval(low=0.0, high=0.168)),
        },
    ),
)

DIFFERENCES = tuple(
    Difference(against=against, metric=metric, value=measured(value, spread), verdict=verdict)
    for against, metric, value, spread, verdict in (
        ("base", "loss", -0.971, 0.08, "better"),
        ("few-shot", "loss", -0.446, 0.07, "better"),
        ("base", "chrf", 12.1, 2.1, "better"),
        ("few-shot", "chrf", 4.4, 2.2, "better"),
        ("base", "token_accuracy", 0.096, 0.018, "better"),
        ("few-shot", "token_accuracy", 0.047, 0.051, "tied"),
        ("base", "exact_match", 0.0, 0.05, "tied"),
        ("few-shot", "exact_match", 0.0, 0.05, "tied"),
    )
)

TRIALS = tuple(trial(trunk, epochs) for trunk in RATES for epochs in (1, 2, 4))
BEST = min(TRIALS, key=lambda line: line.valid_loss or math.inf)
TIED = tuple(line.id for line in TRIALS if line is not BEST and (line.valid_loss or 9) < (BEST.valid_loss or 0) + 0.02)

STORIES = (
    (
        "The Lamplighter's Debt",
        "A man comes aboard with a ladder and a ledger, and says that the Magpie owes him for forty years of"
        " light. The captain says that they have never been here before. He turns the page and shows her the"
        " signature. It is hers, and the ink is wet.",
        "The man is the light. The light is the man. The man is the captain and the captain is the light of the ship.",
        "A man comes to the ship and asks the crew for money. They do not have it. He says that he will come back.",
        "A lamplighter asks the crew to pay for a light that has not been lit. Ilse signs. By morning there is a"
        " lamp on every mast, and one of them is burning for somebody who is not aboard.",
    ),
    (
        "Low Water",
        "The tide goes out and does not stop. By noon the crew are walking on the floor of the sea, picking up"
        " anchors. Tam finds a door. It is locked from this side.",
        "Low water is a water. It is low.",
        "The water is low and the ship cannot sail. The crew wait for the tide.",
        "The sea goes down a foot an hour, and the harbour has more steps than anyone remembers. Bram counts"
        " them. He stops counting when something counts back.",
    ),
    (
        "The Understudy",
        "A theatre ship is short of a queen. Ninn takes the part for one night. The audience will not let her leave"
        " the throne.",
        "The Understudy is a story about a study.",
        "An actor is ill and one of the crew must play the part. It goes badly.",
        "One of the crew must play the king for a night. The part is small. The crown does not come off.",
    ),
)

PREDICTIONS = tuple(
    PredictionLine(
        source=f"episodes.csv:{2 + 5 * number}",
        prompt=title if number < len(STORIES) else f"{title}, part {number // len(STORIES) + 1}",
        expected=expected,
        answers={"base": base, "few-shot": few_shot, "tuned": tuned},
    )
    for number in range(30)
    for title, expected, base, few_shot, tuned in [STORIES[number % len(STORIES)]]
)

FINISHED = Summary(
    id="episodes-7f3a",
    created="2026-11-22T18:07:41Z",
    state="finished",
    verdict=(
        "Use the tuned model: on 19 held-out rows its loss is 0.45 lower than the few-shot prompt's (95 % interval"
        " 0.38 to 0.52)."
    ),
    base="pocket",
    provider="local",
    seed=17,
    command="fewtune run episodes.csv --base pocket --seed 17",
    settings={"shots": 3, "base": "pocket", "epochs": [1, 2, 4], "budget_usd": None, "yes": True},
    versions={"fewtune": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
    machine="Linux x86_64, 2 cores, no GPU",
    seconds=412.7,
    usd=0.0,
    data=DATA,
    trials=TRIALS,
    chosen=BEST.id,
    tied=TIED,
    curves={trunk: tuple(curve(rate)) for trunk, rate in RATES.items()},
    systems=SYSTEMS,
    differences=DIFFERENCES,
    predictions=PREDICTIONS,
    files={
        "report": "runs/episodes-7f3a/report.html",
        "adapter": "runs/episodes-7f3a/adapter",
        "train": "runs/episodes-7f3a/train.jsonl",
        "valid": "runs/episodes-7f3a/valid.jsonl",
        "test": "runs/episodes-7f3a/test.jsonl",
    },
)


@pytest.fixture
def summary() -> Summary:
    """9 trials read off 3 trunks, 30 predictions, 5 findings."""
    return FINISHED


@pytest.fixture
def changed() -> Callable[..., Summary]:
    """The same run with other fields."""

    def change(**fields: Any) -> Summary:
        return replace(FINISHED, **fields)

    return change


def _without(metrics: Any, name: str) -> dict[str, MetricValue]:
    return {key: value for key, value in metrics.items() if key != name}


ONE_ROW = tuple(
    replace(
        system,
        rows=1,
        metrics={name: MetricValue(value=value.value, interval=None) for name, value in system.metrics.items()},
    )
    for system in SYSTEMS
)


NAMES = ("base", "few-shot", "few-shot-nearest", "tuned", "runner-up", "majority", "nearest-answer", "tf-idf")
LABELS = ("delivery", "refund", "damaged", "account", "product question")


def label_table(right: int) -> LabelTable:
    """Of 12 rows a label, `right` are answered right; the others are the next label, and one of each is none."""
    lines = tuple(
        LabelLine(label=label, rows=12, answered=11, precision=right / 11, recall=right / 12, f1=2 * right / 23)
        for label in LABELS
    )
    cells = [(label, label, right) for label in LABELS]
    cells += [(label, after, 11 - right) for label, after in zip(LABELS, LABELS[1:] + LABELS[:1], strict=True)]
    return LabelTable(
        labels=lines,
        confusion=(*cells, *((label, "", 1) for label in LABELS)),
        outside=5,
        calibration=(
            CalibrationLine(rows=20, confidence=0.45, accuracy=0.4),
            CalibrationLine(rows=40, confidence=0.9, accuracy=right / 12),
        ),
        calibration_error=0.061,
    )


def metric_line(name: str, title: str, unit: str = "share", higher: bool | None = True) -> MetricLine:
    return MetricLine(name=name, title=title, unit=unit, higher_is_better=higher, meaning=f"What {title} is.")


METRICS = (
    metric_line("exact_match", "Exact"),
    metric_line("macro_f1", "Macro F1"),
    metric_line("loss", "Loss", "nats", False),
    metric_line("length", "Length", "", None),
    metric_line("bleu", "BLEU", "points"),
    metric_line("brier", "Brier score", "", False),
)
RIGHT = dict(zip(NAMES, (1, 4, 6, 10, 9, 2, 5, 8), strict=True))


def answer_line(name: str, number: int, label: str) -> AnswerLine:
    right = number % 12 < RIGHT[name]
    text = label if right else LABELS[(LABELS.index(label) + 1) % len(LABELS)]
    written = name not in ("majority", "nearest-answer", "tf-idf")
    return AnswerLine(
        samples=(text, f"{text} again") if name == "tuned" and number == 0 else (text,),
        tokens=3 if written else None,
        seconds=0.0625 * (1 + number % 3) if written else None,
        seed=number if written else None,
        stop_reason="stop" if written else None,
        metrics={"exact_match": float(right), **({"loss": 0.25 + (number % 7) / 3} if written else {})},
        invalid="not a label" if number % 12 == 11 and name == "base" else None,
    )


def of_one_system(name: str) -> SystemLine:
    share = RIGHT[name] / 12
    values = {"exact_match": measured(share, 0.1), "macro_f1": measured(share, 0.1), "length": measured(3.1, 0.2)}
    if name not in ("majority", "nearest-answer", "tf-idf"):
        values |= {"loss": measured(2 - share, 0.2), "bleu": measured(30 * share, 2), "brier": measured(0.2, 0.02)}
    return SystemLine(name=name, rows=60, metrics=values)


EVALUATED = replace(
    FINISHED,
    id="tickets-51c0",
    verdict="Use the tuned model: on 60 held-out rows its exact match is 0.17 higher than TF-IDF's (95 % interval 0.04"
    " to 0.29).",
    data=replace(DATA, file="tickets.csv", task="labels"),
    systems=tuple(map(of_one_system, NAMES)),
    differences=tuple(
        Difference(
            against=name,
            metric=metric,
            value=measured((10 - RIGHT[name]) / 12 * sign, 0.12),
            verdict="better" if RIGHT[name] < 9 else "tied",
            p=0.0004 if RIGHT[name] < 9 else 0.31,
        )
        for name in NAMES
        if name != "tuned"
        for metric, sign in (("exact_match", 1), ("loss", -1))
    ),
    predictions=tuple(
        PredictionLine(
            source=f"tickets.csv:{2 + number}",
            prompt=f"Ticket {number}: where is my order, and what about {label}?",
            expected=label,
            answers={name: answer_line(name, number, label).samples[0] for name in NAMES},
            details={name: answer_line(name, number, label) for name in NAMES},
            references=("shipping",) if label == "delivery" else (),
        )
        for number in range(60)
        for label in [LABELS[number % 5]]
    ),
    evaluation=EvaluationPart(
        task="labels",
        asked=False,
        primary="exact_match",
        metrics=METRICS,
        labels={"tuned": label_table(10), "tf-idf": label_table(8), "base": label_table(1)},
        fields={
            "tuned": (
                FieldLine(path="item", rows=60, precision=0.93, recall=0.9, f1=0.915),
                FieldLine(path="address.city", rows=31, precision=None, recall=0.0, f1=0.0),
            ),
            "base": (
                FieldLine(path="item", rows=60, precision=0.2, recall=0.1, f1=0.133),
                FieldLine(path="colour", rows=0, precision=0.0, recall=None, f1=0.0),
            ),
        },
        copying={
            "tuned": Copying(
                rows=60,
                longest_words=9,
                longest_text="the lamp that I ordered two weeks ago has",
                longest_source="tickets.csv:77",
                near_copies=2,
                reproduced=1,
                tried=40,
                expected_longest_words=11,
            )
        },
        forgetting=Forgetting(before=1.204, after=1.251, interval=Interval(low=0.02, high=0.07), bytes=20_480),
        judged=(
            Judged(
                judge="gpt-judge",
                first="tuned",
                second="few-shot",
                wins=30,
                losses=12,
                ties=15,
                unread=3,
                agreement=0.88,
                usd=0.0312,
                tokens=41_200,
                verdict="better",
            ),
        ),
        failing=(Failing(metric="own_metric", system="base", rows=4, reason="ZeroDivisionError: division by zero"),),
    ),
)


EDGES: dict[str, dict[str, Any]] = {
    "finished": {},
    "nothing trained": {
        "state": "stopped",
        "trials": (),
        "chosen": None,
        "tied": (),
        "curves": {},
        "systems": SYSTEMS[:2],
        "differences": (),
        "files": {},
    },
    "nothing chosen": {"chosen": None, "tied": ()},
    "a failed trial": {
        "trials": (
            *FINISHED.trials[:8],
            replace(FINISHED.trials[8], state="failed", failure="The loss became infinite.", valid_loss=None),
        ),
    },
    "nothing scored": {
        "provider": "together",
        "usd": 1.25,
        "trials": tuple(replace(line, valid_loss=None, valid_token_accuracy=None) for line in FINISHED.trials),
        "curves": {
            name: tuple(replace(point, valid_loss=None) for point in points) for name, points in FINISHED.curves.items()
        },
        "systems": tuple(replace(system, metrics=_without(system.metrics, "loss")) for system in SYSTEMS),
        "differences": tuple(line for line in DIFFERENCES if line.metric != "loss"),
    },
    "one held-out row": {
        "verdict": "It cannot be told from a single held-out row whether the tuned model is better.",
        "systems": ONE_ROW,
        "differences": tuple(
            replace(line, value=MetricValue(value=line.value.value, interval=None), verdict="cannot be told")
            for line in DIFFERENCES
        ),
        "predictions": PREDICTIONS[:1],
    },
    "everything": {name: getattr(EVALUATED, name) for name in EVALUATED.__dataclass_fields__},
    "nothing at all": {
        "state": "failed",
        "usd": None,
        "data": replace(DATA, findings=(), dropped={}, rows_kept=160, train_tokens=None, trained_tokens=None),
        "trials": (),
        "chosen": None,
        "tied": (),
        "curves": {},
        "systems": (),
        "differences": (),
        "predictions": (),
        "settings": {},
        "versions": {},
        "files": {},
    },
}


@pytest.fixture(scope="session", params=list(EDGES))
def any_summary(request: pytest.FixtureRequest) -> Summary:
    """Every kind of run that a report must be able to show."""
    return replace(FINISHED, **EDGES[request.param])


@pytest.fixture(scope="session")
def any_page(any_summary: Summary) -> str:
    return html.render(any_summary)


@pytest.fixture(scope="session")
def page() -> str:
    return html.render(FINISHED)


@pytest.fixture
def of_one_row() -> Summary:
    return replace(FINISHED, **EDGES["one held-out row"])


@pytest.fixture
def bare() -> Summary:
    """A run with nothing to draw, whose page is made in no time."""
    return replace(FINISHED, **EDGES["nothing at all"])


@pytest.fixture(scope="session")
def labels_page(of_labels: Summary) -> str:
    return html.render(of_labels)


@pytest.fixture(scope="session")
def hostile_page(hostile_summary: Summary) -> str:
    return html.render(hostile_summary)


@pytest.fixture(scope="session")
def of_labels() -> Summary:
    """A task with one right answer: the tuned model mends two rows and breaks one."""
    answers = (
        ("billing", "account", "account", "billing"),
        ("delivery", "delivery", "billing", "account"),
        ("account", "billing", "billing", "account"),
        ("billing", "billing", "billing", "billing"),
        ("billing", "account", "account", "account"),
    )
    lines = tuple(
        PredictionLine(
            source=f"tickets.csv:{number}",
            prompt=f"Ticket {number}",
            expected=expected,
            answers={"base": base, "few-shot": few_shot, "tuned": tuned},
        )
        for number, (expected, base, few_shot, tuned) in enumerate(answers * 3)
    )
    return replace(FINISHED, data=replace(DATA, task="labels"), predictions=lines, curves={}, systems=SYSTEMS[:1])


HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> {{ 7 * 7 }} \x1b]0;owned\x07\u202e\ud800 [bold]x[/bold]"
)


@pytest.fixture(scope="session")
def hostile_summary() -> Summary:
    """Every free text of a run is an attack."""
    line = PredictionLine(
        source=HOSTILE,
        prompt=HOSTILE,
        expected=HOSTILE * 20,
        answers=dict.fromkeys(("base", "few-shot", "tuned"), HOSTILE * 20),
    )
    finding = replace(FINDINGS[0], code=HOSTILE, sentence=HOSTILE, repair=HOSTILE, rows=(HOSTILE,) * 12)
    return replace(
        FINISHED,
        id=HOSTILE,
        verdict=HOSTILE,
        base=HOSTILE,
        command=HOSTILE,
        machine=HOSTILE,
        settings={HOSTILE: HOSTILE},
        versions={HOSTILE: HOSTILE},
        data=replace(DATA, file=HOSTILE, findings=(finding,), dropped={HOSTILE: 7}),
        trials=tuple(
            replace(trial, plan={**trial.plan, "base": f"{HOSTILE}{number}"}, failure=HOSTILE, state="failed")
            for number, trial in enumerate(FINISHED.trials)
        ),
        systems=tuple(replace(system, name=system.name + HOSTILE) for system in SYSTEMS),
        predictions=(line,) * 20,
        files={"report": f"javascript:alert(1)//{HOSTILE}", "adapter": HOSTILE},
    )


@pytest.fixture(scope="session")
def evaluated() -> Summary:
    """A labelling run with every rival, every part of the evaluation, and the details of every answer."""
    return EVALUATED


@pytest.fixture(scope="session")
def evaluated_page() -> str:
    return html.render(EVALUATED)
