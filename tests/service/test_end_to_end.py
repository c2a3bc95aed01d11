"""Real clients against a real `fewtune serve`: each uploads, tunes, follows the events and asks the tuned model."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI

import fewtune
from fewtune.report import snippets
from standin.service_process import ServiceProcess

ROOT = Path(__file__).parents[2]
ENDED = ("succeeded", "failed", "cancelled")
MODEL = "gpt-4o-mini-2024-07-18"
QUESTION = [{"role": "user", "content": "Where is my parcel?"}]
_NODE_PACKAGE = "openai@7.57.0"


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve conversations."""
    path = tmp_path_factory.mktemp("data") / "training.jsonl"
    things = ("parcel", "lamp", "rug", "sofa", "bed", "cup", "clock", "shelf", "jug", "chair", "table", "mirror")
    with path.open("w", encoding="utf-8") as file:
        for thing in things:
            messages = [
                {"role": "system", "content": "Answer briefly."},
                {"role": "user", "content": f"Where is my {thing}?"},
                {"role": "assistant", "content": f"The {thing} is on its way."},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def test_the_official_client_goes_from_a_file_to_an_answer(live_service: ServiceProcess, training: Path) -> None:
    with OpenAI(base_url=live_service.address, api_key=live_service.key) as client:
        file = client.files.create(file=training, purpose="fine-tune")
        job = client.fine_tuning.jobs.create(training_file=file.id, model=MODEL, suffix="parcels", seed=7)
        while job.status not in ENDED:
            time.sleep(0.05)
            job = client.fine_tuning.jobs.retrieve(job.id)
        assert (job.status, job.error, job.model, job.seed) == ("succeeded", None, MODEL, 7)
        assert job.trained_tokens and job.finished_at
        assert re.fullmatch(rf"ft:{MODEL}:[\w-]+:parcels:\w+", job.fine_tuned_model or "")
        events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))
        assert {"message", "metrics"} <= {event.type for event in events}
        assert any(MODEL in event.message and "pocket" in event.message for event in events), "the alias is shown"
        checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
        assert checkpoints and checkpoints[0].fine_tuned_model_checkpoint.startswith(str(job.fine_tuned_model))
        results = client.files.content(job.result_files[0]).text
        assert results.splitlines()[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
        answer = client.chat.completions.create(model=str(job.fine_tuned_model), messages=QUESTION)  # type: ignore[arg-type]
        assert answer.choices[0].message.content and answer.usage and answer.usage.completion_tokens
        assert job.fine_tuned_model in {model.id for model in client.models.list()}
        assert "POST /v1/chat/completions: 200" in live_service.log.read_text(encoding="utf-8")
        assert client.models.delete(str(job.fine_tuned_model)).deleted


@pytest.mark.asyncio
async def test_the_asynchronous_client_streams_the_answer(live_service: ServiceProcess, training: Path) -> None:
    async with AsyncOpenAI(base_url=live_service.address, api_key=live_service.key) as client:
        file = await client.files.create(file=training, purpose="fine-tune")
        job = await client.fine_tuning.jobs.create(training_file=file.id, model="pocket")
        while job.status not in ENDED:
            await asyncio.sleep(0.05)
            job = await client.fine_tuning.jobs.retrieve(job.id)
        assert job.status == "succeeded"
        assert [event async for event in client.fine_tuning.jobs.list_events(job.id)]
        stream = await client.chat.completions.create(
            model=str(job.fine_tuned_model),
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},  # type: ignore[arg-type]
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")
    assert chunks[-1].usage and chunks[-1].usage.total_tokens


_CURL = r"""
set -euo pipefail
ask() { curl --silent --show-error --fail-with-body -H "Authorization: Bearer $OPENAI_API_KEY" "$@"; }
field() { "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
file=$(ask "$OPENAI_BASE_URL/files" -F purpose=fine-tune -F file=@training.jsonl | field id)
job=$(ask "$OPENAI_BASE_URL/fine_tuning/jobs" -H 'Content-Type: application/json' \
    -d "{\"model\": \"pocket\", \"training_file\": \"$file\"}" | field id)
until status=$(ask "$OPENAI_BASE_URL/fine_tuning/jobs/$job" | field status) && [ "$status" = succeeded ]; do
    [ "$status" != failed ] && sleep 0.1
done
ask "$OPENAI_BASE_URL/fine_tuning/jobs/$job/events?limit=2" | grep -q fine_tuning.job.event
model=$(ask "$OPENAI_BASE_URL/fine_tuning/jobs/$job" | field fine_tuned_model)
ask "$OPENAI_BASE_URL/chat/completions" -H 'Content-Type: application/json' \
    -d "{\"model\": \"$model\", \"messages\": [{\"role\": \"user\", \"content\": \"Where is my parcel?\"}]}"
"""


def test_curl_does_it_all(live_service: ServiceProcess, training: Path) -> None:
    environment = {**live_service.environment, "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "-c", _CURL], cwd=training.parent, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["choices"][0]["message"]["content"]


_NODE = r"""
import fs from "node:fs";
import OpenAI from "openai";
const client = new OpenAI();
const file = await client.files.create({ file: fs.createReadStream(process.argv[2]), purpose: "fine-tune" });
let job = await client.fineTuning.jobs.create({ training_file: file.id, model: "gpt-4o-mini-2024-07-18" });
while (!["succeeded", "failed", "cancelled"].includes(job.status)) {
  await new Promise((go) => setTimeout(go, 50));
  job = await client.fineTuning.jobs.retrieve(job.id);
}
const events = [];
for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 2 })) events.push(event.type);
const stream = await client.chat.completions.create({
  model: job.fine_tuned_model, messages: [{ role: "user", content: "Where is my parcel?" }], stream: true,
});
let text = "";
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
console.log(JSON.stringify({ status: job.status, events, text }));
"""


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder in which Node finds the client; fetched once a machine."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        pytest.skip("Node is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "fewtune-tests" / _NODE_PACKAGE.replace("@", "-")
    if not (folder / "node_modules" / "openai").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        words = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), _NODE_PACKAGE]
        try:
            fetched = subprocess.run(words, capture_output=True, timeout=120, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            fetched = False
        if not fetched:
            pytest.skip(f"{_NODE_PACKAGE} could not be fetched from the npm registry")
    return folder


@pytest.mark.slow
def test_the_client_for_node_does_it_all(live_service: ServiceProcess, training: Path, node_folder: Path) -> None:
    script = node_folder / "tune.mjs"
    script.write_text(_NODE, encoding="utf-8")
    words = ["node", str(script), str(training)]
    done = subprocess.run(words, env=live_service.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "succeeded" and told["text"] and set(told["events"]) >= {"message", "metrics"}


_LANGCHAIN = """
import sys
from langchain_openai import ChatOpenAI
model = ChatOpenAI(model=sys.argv[1], max_tokens=16)
print(model.invoke("Where is my parcel?").content)
print("".join(piece.content for piece in model.stream("Where is my parcel?")))
"""


@pytest.mark.slow
def test_langchain_asks_a_tuned_model(live_service: ServiceProcess, training: Path) -> None:
    with OpenAI(base_url=live_service.address, api_key=live_service.key) as client:
        file = client.files.create(file=training, purpose="fine-tune")
        job = client.fine_tuning.jobs.create(training_file=file.id, model=MODEL)
        while job.status not in ENDED:
            time.sleep(0.05)
            job = client.fine_tuning.jobs.retrieve(job.id)
        assert list(client.fine_tuning.jobs.list_events(job.id))
    # In a process of its own: importing LangChain takes seconds and warns.
    words = [sys.executable, "-c", _LANGCHAIN, str(job.fine_tuned_model)]
    done = subprocess.run(words, env=live_service.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said, streamed = done.stdout.splitlines()
    assert said and streamed


@pytest.mark.slow
def test_the_built_in_base_is_really_tuned_and_answers_as_its_rows_do(tmp_path: Path, training: Path) -> None:
    service = ServiceProcess(tmp_path)
    try:
        with OpenAI(base_url=service.address, api_key=service.key) as client:
            file = client.files.create(file=training, purpose="fine-tune")
            method: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 20}}}
            job = client.fine_tuning.jobs.create(training_file=file.id, model=MODEL, method=method, seed=1)
            while job.status not in ENDED:
                time.sleep(0.2)
                job = client.fine_tuning.jobs.retrieve(job.id)
            assert job.status == "succeeded", job.error
            events = client.fine_tuning.jobs.list_events(job.id, limit=100)
            losses = [event.data["train_loss"] for event in events if event.type == "metrics"]  # type: ignore[index]
            assert losses[0] < losses[-1] / 4, "the newest is the first"
            question: Any = [{"role": "system", "content": "Answer briefly."}, *QUESTION]
            told = client.chat.completions.create(
                model=str(job.fine_tuned_model), messages=question, temperature=0, max_tokens=20
            )
            assert told.choices[0].message.content == "The parcel is on its way."
            _prefers(client, str(job.fine_tuned_model), training)
            tools: Any = [{"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}]
            with pytest.raises(BadRequestError, match="no chat template"):
                client.chat.completions.create(model=MODEL, messages=question, tools=tools)
    finally:
        assert service.stop() == 0


def _prefers(client: OpenAI, model: str, training: Path) -> None:
    """It learns to prefer its own rows; the reference is what it starts from, so the first loss is ln 2."""
    rows = [json.loads(line)["messages"] for line in training.read_text(encoding="utf-8").splitlines()]
    other = [{"role": "assistant", "content": "Nobody knows."}]
    pairs = [
        {"input": {"messages": row[:-1]}, "preferred_output": row[-1:], "non_preferred_output": other} for row in rows
    ]
    file = client.files.create(file=("pairs.jsonl", "\n".join(map(json.dumps, pairs)).encode()), purpose="fine-tune")
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 6, "beta": 0.2}}}
    job = client.fine_tuning.jobs.create(training_file=file.id, model=model, method=method)
    while job.status not in ENDED:
        time.sleep(0.2)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    events = client.fine_tuning.jobs.list_events(job.id, limit=100)
    losses = [event.data["train_loss"] for event in events if event.type == "metrics"]  # type: ignore[index]
    assert losses[-1] == pytest.approx(math.log(2), abs=1e-3) and losses[0] < 0.3, "the newest is the first"


@pytest.mark.slow
def test_the_snippets_of_a_report_ask_the_runs_own_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples_folder: Path
) -> None:
    monkeypatch.setenv("FEWTUNE_HOME", str(tmp_path))
    rows = (examples_folder / "orders.csv").read_text(encoding="utf-8").splitlines(keepends=True)[:41]
    data = tmp_path / "orders.csv"
    data.write_text("".join(rows), encoding="utf-8")
    run = fewtune.run(str(data), epochs="1", learning_rate="1e-3")
    ways = {one.title: one.code for one in snippets.use(run.summary)}
    (start,) = (code for code in ways.values() if code.startswith("fewtune serve "))
    service = ServiceProcess(tmp_path, *shlex.split(start)[2:])
    try:
        curl, python = ways["Then with curl, the key in OPENAI_API_KEY"], ways["Or with OpenAI's own client"]
        for words in (["bash", "-c", curl], [sys.executable, "-c", python]):
            words[2] = words[2].replace(snippets.SERVER, service.address)
            done = subprocess.run(words, env=service.environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0 and done.stdout.strip(), done.stderr + done.stdout
            assert '"error"' not in done.stdout
        with OpenAI(base_url=service.address, api_key=service.key) as client:
            asked: Any = {"role": "user", "content": run.summary.predictions[0].prompt}
            said = client.chat.completions.create(model=run.id, messages=[asked], temperature=0, max_tokens=12)
        same = run.generate(run.summary.predictions[0].prompt, temperature=0, max_tokens=12)
        assert said.choices[0].message.content == same
    finally:
        assert service.stop() == 0


@pytest.mark.slow
def test_a_job_that_asks_for_a_sweep_returns_its_winner(live_service: ServiceProcess, training: Path) -> None:
    with OpenAI(base_url=live_service.address, api_key=live_service.key) as client:
        file = client.files.create(file=training, purpose="fine-tune")
        asked = {"fewtune.sweep": "epochs=1,2 learning-rate=3e-4,1e-3"}
        job = client.fine_tuning.jobs.create(training_file=file.id, model=MODEL, metadata=asked)
        while job.status not in ENDED:
            time.sleep(0.2)
            job = client.fine_tuning.jobs.retrieve(job.id)
        messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)]
        assert job.status == "succeeded", (job.error, messages)
        assert job.hyperparameters.n_epochs in (1, 2)
        assert any(message.startswith(("Tune: ", "Do not tune: ", "Cannot be told: ")) for message in messages), (
            messages
        )
        answer = client.chat.completions.create(model=str(job.fine_tuned_model), messages=QUESTION)  # type: ignore[arg-type]
        assert answer.choices[0].message.content
