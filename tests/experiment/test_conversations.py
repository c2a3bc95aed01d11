"""Conversations, from the file to a tuned chat model and out again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fewtune
from fewtune.errors import UsageError
from standin.chat_models import STYLES, save_chat_model
from standin.tiny_models import FAMILIES, save_model

COLOURS = ("red", "green", "blue", "white", "black", "brown")
THINGS = ("lamp", "house", "river", "coat", "door", "stone", "boat")


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    """A first answer that is not learnt, and a second that is."""
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"My {thing}?"},
                {"role": "assistant", "content": "What colour?", "weight": 0},
                {"role": "user", "content": f"{colour}."},
                {"role": "assistant", "content": f"{colour} {thing}: shelf {len(colour + thing)}."},
            ]
        }
        for colour in COLOURS
        for thing in THINGS
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_chat_model_is_tuned_on_the_turns_that_count_judged_and_exported(conversations: Path, tmp_path: Path) -> None:
    base = save_chat_model(tmp_path / "base", STYLES["chatml"])
    run = fewtune.run(conversations, base=str(base), epochs=(1, 2), batch_size=8, learning_rate=3e-3)
    losses = {one.name: one.metrics["loss"].value for one in run.summary.systems if "loss" in one.metrics}
    assert losses["tuned"] < losses["base"]
    pieces = [piece for line in run.summary.data.mask for piece in line.pieces]
    learnt = "".join(piece.text for piece in pieces if piece.trained)
    assert ": shelf" in learnt and "What colour?" not in learnt
    assert {piece.text for piece in pieces if piece.stop} == {"<|im_end|>"}
    again = [json.loads(line) for line in Path(run.summary.files["test"]).read_text().splitlines()]
    assert [turn.get("weight") for turn in again[0]["messages"]] == [None, None, 0, None, None]
    assert run.export(tmp_path / "merged", format="merged").rows == len(again)


def test_a_plain_base_is_given_the_same_conversations_as_text(conversations: Path) -> None:
    prepared = fewtune.prepare(conversations)
    first = prepared.examples[0]
    assert first.prompt.endswith("User: red.") and first.completion == "red lamp: shelf 7."
    assert prepared.row_shape == "openai-completion" and prepared.mask and prepared.mask.stops == ("<|end|>",)


def test_a_base_without_a_template_cannot_chat(conversations: Path, tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", FAMILIES["llama"])
    with pytest.raises(UsageError, match="template"):
        fewtune.prepare(conversations, base=str(base), recipe="chat")
    with pytest.raises(UsageError, match="no recipe 'talk'"):
        fewtune.prepare(conversations, recipe="talk")


def test_a_chat_model_can_be_used_as_a_plain_one(conversations: Path, tmp_path: Path) -> None:
    base = save_chat_model(tmp_path / "base", STYLES["chatml"])
    prepared = fewtune.prepare(conversations, base=str(base), recipe="completion")
    assert prepared.mask and prepared.mask.recipe == "completion"
    assert all("<|im_start|>" not in piece.text for row in prepared.mask.rows for piece in row.pieces)


def test_preferences_are_prepared_and_trained(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Where is the {colour} {thing}?", "chosen": f"On shelf {len(thing)}.", "rejected": "No idea."}
        for colour in COLOURS
        for thing in THINGS
    ]
    path = tmp_path / "preferences.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = fewtune.train(path, epochs=1, batch_size=8, learning_rate=1e-3)
    assert run.summary.data.shape == "preference pairs" and run.best.valid_loss is not None
