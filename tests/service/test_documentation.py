"""docs/service.md and docs/deploying.md against the service itself: scripts run, tables are complete and true."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest
from openai.types import (
    completion_create_params,
    file_create_params,
    file_list_params,
    upload_complete_params,
    upload_create_params,
)
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.fine_tuning import FineTuningJob, job_create_params, job_list_params
from openai.types.fine_tuning.alpha import grader_run_params
from openai.types.fine_tuning.checkpoints import permission_create_params, permission_list_params
from openai.types.responses import response_create_params
from openai.types.uploads import part_create_params
from prometheus_client.parser import text_string_to_metric_families

from standin.service_process import ServiceProcess

DOCS = Path(__file__).parents[2] / "docs"
SERVICE = (DOCS / "service.md").read_text(encoding="utf-8")
DEPLOYING = (DOCS / "deploying.md").read_text(encoding="utf-8")

_SCRIPT = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `(\w+)` \| (same|different|refused) \| (.*) \|$", re.MULTILINE)


_SCRIPTS = dict(_SCRIPT.findall(SERVICE))


@pytest.mark.parametrize("name", ["tune.py", pytest.param("sweep.py", marks=pytest.mark.slow)])
def test_a_script_of_the_page_runs_as_it_stands(name: str, live_service: ServiceProcess, tmp_path: Path) -> None:
    rows = (
        {"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "yes"}]} for n in range(20)
    )
    (tmp_path / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / name).write_text(_SCRIPTS[name], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", name],
        cwd=tmp_path,
        env=live_service.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def section(heading: str) -> str:
    found = SERVICE.partition(f"\n### {heading}\n")[2]
    assert found, heading
    return found.partition("\n## ")[0].partition("\n### ")[0]


@pytest.mark.parametrize(
    ("heading", "asked"),
    [
        ("Files: POST /files", file_create_params.FileCreateParams),
        ("Files: POST /files", file_list_params.FileListParams),
        ("Uploads: POST /uploads", upload_create_params.UploadCreateParams),
        ("Uploads: POST /uploads", upload_complete_params.UploadCompleteParams),
        ("Uploads: POST /uploads", part_create_params.PartCreateParams),
        ("Jobs: POST /fine_tuning/jobs", job_create_params.JobCreateParams),
        ("Jobs: POST /fine_tuning/jobs", job_create_params.Hyperparameters),
        ("Jobs: POST /fine_tuning/jobs", job_list_params.JobListParams),
        (
            "Checkpoint permissions: POST /fine_tuning/checkpoints/{model}/permissions",
            permission_create_params.PermissionCreateParams,
        ),
        (
            "Checkpoint permissions: POST /fine_tuning/checkpoints/{model}/permissions",
            permission_list_params.PermissionListParams,
        ),
        ("Graders: POST /fine_tuning/alpha/graders/run", grader_run_params.GraderRunParams),
        ("Chat: POST /chat/completions", chat_create_params.CompletionCreateParamsStreaming),
        ("Completions: POST /completions", completion_create_params.CompletionCreateParamsStreaming),
        ("Responses: POST /responses", response_create_params.ResponseCreateParamsStreaming),
    ],
)
def test_every_field_of_the_official_client_is_in_the_table(heading: str, asked: type) -> None:
    assert set(get_type_hints(asked)) <= set(re.findall(r"`(\w+)`", section(heading)))


def test_every_field_of_a_job_is_in_the_table() -> None:
    assert set(FineTuningJob.model_fields) <= set(re.findall(r"`(\w+)`", section("Jobs: POST /fine_tuning/jobs")))


_ASKED: dict[str, Any] = {
    "access_programs": [],
    "audio": {"voice": "alloy", "format": "wav"},
    "background": True,
    "background_options": {},
    "best_of": 1,
    "context_management": [],
    "conversation": "conv_1",
    "echo": True,
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [{"name": "look", "parameters": {}}],
    "image": {},
    "include": ["message.output_text.logprobs"],
    "instructions": "Be brief.",
    "logit_bias": {"50256": -100},
    "max_tool_calls": 2,
    "metadata": {"a": "b"},
    "modalities": ["text"],
    "moderation": {"model": "any"},
    "n": 2,
    "parallel_tool_calls": True,
    "prediction": {"type": "content", "content": "yes"},
    "presence_penalty": 0.5,
    "previous_response_id": "resp_1",
    "prompt_cache_key": "a",
    "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
    "reasoning": {"effort": "low"},
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "safety_identifier": "a",
    "seed": 7,
    "service_tier": "auto",
    "stop": ["\n"],
    "store": True,
    "stream_options": {"include_usage": True},
    "suffix": "end",
    "temperature": 0.5,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
    "top_p": 0.9,
    "truncation": "auto",
    "user": "me",
    "verbosity": "low",
    "web_search_options": {},
}
"""What a field is tried with, beside those that every request below has."""

_MESSAGES = {"messages": [{"role": "user", "content": "Where is it?"}]}
_TRIED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Chat: POST /chat/completions": (
        "chat/completions",
        {**_MESSAGES, "max_tokens": 4},
        {"max_completion_tokens": 4, "stream": True, "logprobs": True, "top_logprobs": 0},
    ),
    "Completions: POST /completions": (
        "completions",
        {"prompt": "a", "max_tokens": 4},
        {"stream": True, "logprobs": 1},
    ),
    "Responses: POST /responses": (
        "responses",
        {"input": "a", "max_output_tokens": 4},
        {"stream": True, "top_logprobs": 1, "prompt": {"id": "pmpt_1"}},
    ),
}


@pytest.mark.parametrize("heading", _TRIED)
def test_what_the_table_says_of_a_field_is_so(heading: str, live_service: ServiceProcess) -> None:
    place, body, special = _TRIED[heading]
    wrong: dict[str, str] = {}
    with httpx.Client(base_url=live_service.address, headers={"authorization": f"Bearer {live_service.key}"}) as client:
        for field, said, _ in _ROW.findall(section(heading)):
            if field in ("model", *body):
                continue
            asked = {"model": "pocket", **body, field: special.get(field, _ASKED.get(field))}
            assert asked[field] is not None, f"nothing to try {field} with"
            answer = client.post(place, json=asked)
            refused = answer.status_code == 400 and answer.json()["error"]["param"] == field
            if refused != (said == "refused") or (said != "refused" and answer.status_code != 200):
                wrong[field] = answer.text
    assert wrong == {}


def test_every_metric_is_described_and_is_there(live_service: ServiceProcess) -> None:
    text = httpx.get(f"{live_service.address.removesuffix('/v1')}/metrics").text
    told = {one.name for one in text_string_to_metric_families(text)}
    described = {name.removesuffix("_total") for name in re.findall(r"^\| `(fewtune_\w+)` \|", DEPLOYING, re.MULTILINE)}
    assert described == told


def test_the_unit_of_systemd_is_valid(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    unit = (DOCS / "deploying" / "fewtune.service").read_text(encoding="utf-8")
    assert f"ExecStart={'/opt/fewtune/bin/fewtune serve'}\n" in unit and "User=fewtune" in unit
    path = tmp_path / "fewtune.service"
    path.write_text(
        unit.replace("/opt/fewtune/bin/fewtune", sys.executable).replace("User=fewtune\n", ""), encoding="utf-8"
    )
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_is_not_root_has_one_volume_and_starts_with_options_that_there_are() -> None:
    from typer.main import get_command

    from fewtune.cli.app import app

    lines = (DOCS / "deploying" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users and users[-1] not in ("root", "0")
    assert [line for line in lines if line.startswith("VOLUME ")] == ["VOLUME /data"]
    command, *words = json.loads(next(line for line in lines if line.startswith('CMD ["serve'))[4:])
    known = {option for one in get_command(app).commands[command].params for option in one.opts}  # type: ignore[attr-defined]
    assert {word for word in words if word.startswith("--")} <= known


def test_the_commands_of_the_pages_have_options_that_there_are() -> None:
    from typer.main import get_command

    from fewtune.cli.app import app

    tried = 0
    for line in re.findall(r"^(?:docker run --rm -v \S+ )?fewtune (.+)$", SERVICE + DEPLOYING, re.MULTILINE):
        words, command = shlex.split(line, comments=True), get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
        tried += 1
    assert tried >= 12
