"""The recipe of the built-in base, on a corpus of a few invented pages."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from signal import SIGKILL
from types import ModuleType
from unittest.mock import patch

import pytest
import torch
from transformers import LlamaForCausalLM

from fewtune.engine import base_model
from fewtune.engine.attention import PackedAttention
from pretraining import card, checkpoint, export, held_out, tokenizer
from pretraining.corpus import is_held_out, read_books
from pretraining.measure import bits_per_byte, computes_in_bf16, measures
from pretraining.model import CONTEXT, Llama, Shape
from pretraining.optimizer import orthogonalise
from pretraining.tokens import BEGIN, END, SHORT, UNTRAINED, Mixture, prepare, windows
from pretraining.train import Recipe, claim, loss_of, main, rate, reader, seen_apart, train

ROOT = Path(__file__).parents[2]
SHAPE = Shape(hidden=128, layers=2, key_heads=1, inner=96)
TINY = Recipe(steps=5, tokens_per_step=2 * CONTEXT, warm_up=2, exercise_share=0.4, shape=SHAPE)


def test_a_training_that_was_cut_ends_in_the_same_weights(corpus: Path, work: Path, tmp_path: Path) -> None:
    whole = train(TINY, corpus, copy_of(work, tmp_path / "whole"), compiled=False)
    cut = copy_of(work, tmp_path / "cut")
    train(TINY, corpus, cut, until=2, compiled=False)
    assert checkpoint.resume(cut, Llama(SHAPE), []).step == 2
    assert weights(train(TINY, corpus, cut, compiled=False)) == weights(whole)


def test_a_training_that_was_killed_goes_on_from_its_last_checkpoint(corpus: Path, work: Path, tmp_path: Path) -> None:
    whole = train(TINY, corpus, copy_of(work, tmp_path / "whole"), compiled=False)
    killed = copy_of(work, tmp_path / "killed")
    child = get_context("fork").Process(target=forever, args=(corpus, killed))
    child.start()
    while not (killed / checkpoint.NAME).exists():
        assert child.is_alive()
        time.sleep(0.05)
    child.kill()
    child.join()
    assert child.exitcode == -SIGKILL
    assert 0 < checkpoint.resume(killed, Llama(SHAPE), []).step < TINY.steps
    assert weights(train(TINY, corpus, killed, compiled=False)) == weights(whole)


def forever(corpus: Path, work: Path) -> None:
    """A training that saves at every step and waits at the third."""

    def waiting(step: int, recipe: Recipe) -> float:
        if step == 3:
            time.sleep(600)
        return rate(step, recipe)

    with patch("pretraining.train.rate", waiting):
        train(TINY, corpus, work, minutes_per_checkpoint=0, compiled=False)


def copy_of(work: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((work / "tokenizer.json").read_bytes())
    return folder


def weights(model: torch.nn.Module) -> list[bytes]:
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def test_an_exported_base_loads_here_and_in_transformers_and_gives_the_logits_that_were_trained(
    corpus: Path, work: Path, tmp_path: Path
) -> None:
    train(TINY, corpus, work, compiled=False)
    (work / "recipe.json").write_text(json.dumps(asdict(TINY)))
    model, _ = export.open_model(work)
    out = tmp_path / "base"
    export.write_base(model, SHAPE, work, out)
    base = base_model.load(str(out))
    ids = torch.tensor(base.encoder.prompt("the old lamp"))
    expected = model(ids[None])[0]
    ours = base.logits(base.body.states(ids, torch.arange(len(ids)), PackedAttention([len(ids)])))
    assert torch.allclose(ours, expected, atol=1e-5)
    theirs = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32)(input_ids=ids[None]).logits[0]
    assert torch.allclose(theirs, expected, atol=1e-5)


def test_a_second_run_goes_on_from_the_base_of_the_first(corpus: Path, work: Path, tmp_path: Path) -> None:
    first, folder = train(TINY, corpus, work, compiled=False), str(tmp_path / "base")
    export.write_base(first, SHAPE, work, Path(folder))
    second = replace(TINY, start=folder, exercise_share=1.0, written_share=0.5, peak_share=1e-9)
    again = train(second, corpus, copy_of(work, tmp_path / "second"), compiled=False)
    for before, after in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.allclose(before.bfloat16().float(), after, atol=1e-6)


def test_a_base_to_go_on_from_that_is_absent_or_of_another_shape_is_refused(
    corpus: Path, work: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="--start names the folder of a base"):
        train(replace(TINY, start=str(tmp_path / "none")), corpus, work, compiled=False)
    other = replace(SHAPE, layers=1)
    export.write_base(Llama(other), other, work, tmp_path / "other")
    with pytest.raises(ValueError, match="another shape"):
        train(replace(TINY, start=str(tmp_path / "other")), corpus, work, compiled=False)


def test_a_folder_of_another_recipe_is_refused_and_stays_as_it_is(work: Path) -> None:
    claim(work, TINY)
    claim(work, TINY)
    with pytest.raises(ValueError, match="another recipe"):
        claim(work, replace(TINY, apart=True))
    assert json.loads((work / "recipe.json").read_text())["apart"] is False


def test_exercises_are_read_at_the_end_only_and_their_prompts_are_not_learnt(corpus: Path, work: Path) -> None:
    rows = reader(TINY, prepare(corpus, work, Mixture(seed=0)), torch.device("cpu"))
    assert TINY.trunk == 3
    assert not (rows.batch(2) >= UNTRAINED).any()
    mixed = rows.batch(3) >= UNTRAINED
    assert [bool(row.any()) for row in mixed] == [False, True]
    model = Llama(SHAPE)
    learnt = rows.batch(3)[1:]
    targets = learnt[0, 1:]
    with torch.autocast("cpu", torch.bfloat16, enabled=computes_in_bf16(learnt.device)):
        logits = model(learnt[:, :-1] % SHORT)[0].float()
    losses = torch.nn.functional.cross_entropy(logits, targets % SHORT, reduction="none")
    assert loss_of(model, learnt).item() == pytest.approx(losses[targets < UNTRAINED].mean().item(), rel=1e-5)
    short = targets[targets < UNTRAINED] >= SHORT
    assert short.any() and not short.all()
    weights = torch.where(short, 3.0, 1.0)
    expected = (weights * losses[targets < UNTRAINED]).sum() / weights.sum()
    assert loss_of(model, learnt, short_weight=3.0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_exercises_that_stand_apart_have_the_logits_that_they_have_alone() -> None:
    model = Llama(SHAPE)
    for parameter in model.parameters():  # the blocks start as the identity
        torch.nn.init.normal_(parameter, std=0.2)
    texts = [torch.tensor([BEGIN, *range(first, first + 9)]) for first in (40, 60, 80)]
    together = torch.cat(texts)[None]
    with torch.no_grad():
        apart = model(together, seen_apart(together))[0]
        alone = torch.cat([model(text[None])[0] for text in texts])
        mixed = model(together)[0]
    assert torch.allclose(apart, alone, atol=1e-4)
    assert not torch.allclose(mixed, alone, atol=1e-2)


def test_of_an_exercise_that_the_window_cut_nothing_is_learnt(corpus: Path, work: Path) -> None:
    recipe = replace(TINY, apart=True)
    rows = reader(recipe, prepare(corpus, work, recipe.mixture), torch.device("cpu"))
    for step in (3, 4):
        row = rows.batch(step)[1]
        begun = (row % SHORT == BEGIN).nonzero()
        assert len(begun)
        assert (row[: int(begun[0])] >= UNTRAINED).all()
        assert (row[int(begun[0]) :] < UNTRAINED).any()


def test_more_passages_begin_where_exercises_stand_apart_and_hold_the_same_words(corpus: Path, work: Path) -> None:
    begun: dict[bool, int] = {}
    words: dict[bool, int] = {}
    for apart in (False, True):
        prose = prepare(corpus, copy_of(work, work / str(apart)), replace(TINY, apart=apart).mixture).prose
        begun[apart] = int((prose == BEGIN).sum())
        assert begun[apart] == (prose == END).sum()
        words[apart] = len(prose) - 2 * begun[apart]
    assert begun[True] > 1.5 * begun[False]
    assert words[True] == pytest.approx(words[False], rel=0.02)


def test_an_epoch_reads_every_window_once_and_the_next_in_another_order() -> None:
    stream = torch.arange(1001)
    first, second = (windows(stream, epoch * 99, 99, 10, seed=0) for epoch in (0, 1))
    assert len(first[:, 0].unique()) == 99
    assert (first[:, 1:] == first[:, :-1] + 1).all()
    assert first[:, 0].tolist() != second[:, 0].tolist()


def test_held_out_books_are_in_neither_stream_and_line_ends_are_plain(corpus: Path, work: Path) -> None:
    found = list(read_books(corpus))
    assert [book.line for book in found if is_held_out(book)] == [17]
    assert not [book for book in found if "\r" in book.text]
    streams = prepare(corpus, work, Mixture(seed=0))
    opened = tokenizer.load(work)
    for stream in (streams.prose, streams.exercises):
        assert "Book 17" not in opened.decode([int(token) % SHORT for token in stream])


def test_bits_per_byte_of_an_untrained_model_are_those_of_guessing(corpus: Path, work: Path) -> None:
    model = Llama(SHAPE)
    torch.nn.init.zeros_(model.model.embed_tokens.weight)
    opened = tokenizer.load(work)
    book = next(read_books(corpus))
    for text in (book.text * 3, book.text[:500]):
        guessing = (len(opened.encode(text).ids) - 1) * math.log2(400) / len(text.encode())
        (measure,) = measures([replace(book, text=text)], opened)
        assert bits_per_byte(model, measure) == pytest.approx(guessing, rel=1e-4)


def test_the_rate_warms_up_stays_and_falls_to_almost_nothing() -> None:
    recipe = Recipe(steps=1000, warm_up=100, decay_share=0.4)
    assert rate(0, recipe) == pytest.approx(0.01)
    assert rate(300, recipe) == rate(599, recipe) == 1.0
    assert rate(999, recipe) == pytest.approx(1 / 400)
    assert rate(300, replace(recipe, peak_share=0.3)) == pytest.approx(0.3)
    assert rate(0, replace(recipe, steps=100)) == pytest.approx(0.1), "never more than a tenth of the steps"


def test_orthogonalising_brings_every_singular_value_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 32, 64), (2, 64, 32)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.5
        assert values.max() < 1.3


def command(corpus: Path, work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "pretraining.train", "--corpus", str(corpus), "--work", str(work), "--eager"]
    line += ["--steps", "1", "--tokens-per-step", "1024", *options]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_corpus_that_is_absent_or_cut_short_is_an_error_in_one_line(corpus: Path, tmp_path: Path) -> None:
    absent = command(tmp_path / "nowhere.xz", tmp_path / "a")
    cut = tmp_path / "cut.xz"
    cut.write_bytes(corpus.read_bytes()[:-40])
    short = command(cut, tmp_path / "b")
    for done, words in ((absent, "nowhere.xz"), (short, "cut.xz")):
        assert done.returncode == 1
        assert done.stderr.startswith("pretraining: ")
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert not list((tmp_path / "b").glob("*.npy"))


@pytest.mark.parametrize(
    "options",
    [
        ("--shape", "384,4"),
        ("--shape", "100,1,1,64"),
        ("--shape", "192,1,2,64"),
        ("--tokens-per-step", "100"),
        ("--exercise-mix", "2"),
        ("--written-share", "-1"),
        ("--peak-share", "0"),
        ("--short-weight", "0"),
        ("--steps", "0"),
    ],
    ids=lambda options: " ".join(options),
)
def test_sizes_that_cannot_be_are_refused(options: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["train", "--corpus", "none.xz", "--work", "none", "--steps", "1", *options]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2


def test_a_checkpoint_of_another_shape_or_a_damaged_one_is_refused(corpus: Path, work: Path) -> None:
    train(TINY, corpus, work, until=1, compiled=False)
    with pytest.raises(ValueError, match="another shape"):
        train(replace(TINY, shape=replace(SHAPE, layers=1)), corpus, work, compiled=False)
    path = work / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        train(TINY, corpus, work, compiled=False)


def test_a_disk_that_fills_leaves_the_checkpoint_before(
    corpus: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(TINY, corpus, work, until=1, compiled=False)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(checkpoint, "save_file", full)
        train(TINY, corpus, work, until=3, compiled=False)
    assert checkpoint.resume(work, Llama(SHAPE), []).step == 1
    assert checkpoint.resume(work, train(TINY, corpus, work, compiled=False), []).step == TINY.steps


@pytest.mark.parametrize(
    ("command", "options", "told"),
    [
        (export, ("--work", "--out"), "has no checkpoint; train first."),
        (card, ("--base", "--records"), "config.json"),
        (held_out, ("--corpus", "--base", "--records"), "config.json"),
    ],
    ids=["export", "card", "held_out"],
)
def test_an_empty_folder_is_told_in_one_line(
    command: ModuleType, options: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *(part for option in options for part in (option, str(tmp_path)))])
    with pytest.raises(SystemExit, match=rf"^pretraining: [^\n]*{told}"):
        command.main()


def test_a_written_base_is_read_again_as_it_was(work: Path, tmp_path: Path) -> None:
    model = Llama(SHAPE)
    export.write_base(model, SHAPE, work, tmp_path / "base")
    read, shape = export.read_base(tmp_path / "base")
    assert shape == SHAPE
    assert weights(read) == [
        parameter.bfloat16().float().detach().numpy().tobytes() for parameter in model.parameters()
    ]
    (tmp_path / "base" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json has no hidden_size"):
        export.read_base(tmp_path / "base")
