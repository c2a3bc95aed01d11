"""Graders: what turns an answer into a number."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from fewtune.service.wire.shared import Asked, Name, Real, Text, Told

Metric = Literal[
    "cosine",
    "fuzzy_match",
    "bleu",
    "gleu",
    "meteor",
    "rouge_1",
    "rouge_2",
    "rouge_3",
    "rouge_4",
    "rouge_5",
    "rouge_l",
]


class StringCheck(Asked):
    """1 where the two texts stand to each other as asked, else 0."""

    type: Literal["string_check"]
    name: Name
    input: Text
    reference: Text
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(Asked):
    """How much alike two texts are, from 0 to 1."""

    type: Literal["text_similarity"]
    name: Name
    input: Text
    reference: Text
    evaluation_metric: Metric


class JudgedMessage(Asked):
    """One turn of what the judge is shown."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Text


class ScoreModel(Asked):
    """What another model gives an answer; it is asked at the address that the server was started with."""

    type: Literal["score_model"]
    name: Name
    model: Name
    input: Annotated[list[JudgedMessage], Field(min_length=1, max_length=64)]
    range: tuple[Real, Real] = (0.0, 1.0)


class Refused(Asked):
    """Those that would run what a request brings along, or that OpenAI has and fewtune has not."""

    type: Literal["python", "label_model"]
    name: Name


SingleGrader = Annotated[StringCheck | TextSimilarity | ScoreModel | Refused, Field(discriminator="type")]


class Multi(Asked):
    """A formula over the numbers of others."""

    type: Literal["multi"]
    name: Name
    graders: Annotated[dict[Name, SingleGrader], Field(min_length=1, max_length=16)] | SingleGrader
    """By the name that the formula uses; a single one goes by its own."""
    calculate_output: Annotated[Text, Field(min_length=1, max_length=1000)]


Grader = Annotated[StringCheck | TextSimilarity | ScoreModel | Refused | Multi, Field(discriminator="type")]


class RunGrader(Asked):
    """One answer to be graded."""

    grader: Grader
    model_sample: Text
    item: dict[str, Any] | None = None


class ValidateGrader(Asked):
    """A grader to be looked at."""

    grader: Grader


class GraderValidated(Told):
    """The grader as it was understood."""

    grader: Grader


class GradingErrors(Told):
    """What went wrong, as far as it can go wrong here."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    formula_parse_error: bool = False
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False
    invalid_variable_error: bool = False
    other_error: bool = False
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    model_grader_server_error: bool = False
    model_grader_refusal_error: bool = False
    model_grader_parse_error: bool = False
    model_grader_server_error_details: str | None = None


class GradingMetadata(Told):
    """How the number came about."""

    name: str
    type: str
    errors: GradingErrors
    execution_time: float
    """Seconds."""
    scores: dict[str, float]
    token_usage: int | None
    sampled_model_name: str | None


class GraderRun(Told):
    """The number; 0 where there was an error."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    reward: float
    metadata: GradingMetadata
    sub_rewards: dict[str, float]
    model_grader_token_usage_per_model: dict[str, int]
