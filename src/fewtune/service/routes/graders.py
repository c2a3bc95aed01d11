"""Graders, tried on one answer."""

from __future__ import annotations

import time

from fastapi import APIRouter

from fewtune.service.auth import CallerOf, CreatorOf
from fewtune.service.grading import Answer, Grade, check, grade
from fewtune.service.stores import StoresOf
from fewtune.service.wire.graders import (
    GraderRun,
    GraderValidated,
    GradingErrors,
    GradingMetadata,
    Multi,
    RunGrader,
    ValidateGrader,
)

router = APIRouter(prefix="/fine_tuning/alpha/graders", tags=["graders"])


@router.post("/validate")
def validate_grader(asked: ValidateGrader, _caller: CallerOf, stores: StoresOf) -> GraderValidated:
    """Whether a grader can be used here."""
    check(asked.grader, stores.judge)
    return GraderValidated(grader=asked.grader)


@router.post("/run")
def run_grader(asked: RunGrader, _caller: CreatorOf, stores: StoresOf) -> GraderRun:
    """Grade one answer."""
    check(asked.grader, stores.judge)
    since = time.perf_counter()
    answer = Answer(sample=asked.model_sample, item=asked.item or {}, most_characters=stores.limits.graded_characters)
    found = grade(asked.grader, answer, stores.judge)
    return _told(asked, found, time.perf_counter() - since)


def _told(asked: RunGrader, found: Grade, seconds: float) -> GraderRun:
    grader = asked.grader
    errors = GradingErrors.model_validate(
        {**dict.fromkeys(found.errors, True), "model_grader_server_error_details": found.detail}
    )
    return GraderRun(
        reward=found.value,
        sub_rewards=dict(found.parts),
        model_grader_token_usage_per_model=dict(found.tokens),
        metadata=GradingMetadata(
            name=grader.name,
            type=grader.type,
            errors=errors,
            execution_time=seconds,
            scores=dict(found.parts) if isinstance(grader, Multi) else {grader.name: found.value},
            token_usage=sum(found.tokens.values()) or None,
            sampled_model_name=None,
        ),
    )
