"""Train a base: `python -m pretraining.train --corpus classic_prose.jsonl.xz --work build/pocket --steps 6000`.

In bf16 where the machine multiplies that faster, elsewhere in fp32. Killed at any time, the same command goes on from
the last checkpoint. `pretraining.export` turns the folder into a base.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pretraining import checkpoint
from pretraining.checkpoint import Mark
from pretraining.corpus import Book, is_held_out, read_books
from pretraining.measure import Measure, bits_per_byte, computes_in_bf16, matrix_rate, measures
from pretraining.model import CONTEXT, HEAD_WIDTH, Llama, Shape
from pretraining.optimizer import optimizers
from pretraining.refusal import told
from pretraining.tokenizer import load
from pretraining.tokens import BEGIN, SHORT, UNTRAINED, Mixture, Streams, prepare, windows

POCKET = Path(__file__).parents[1] / "src/fewtune/bases/pocket"
LOG_EVERY = 20


@dataclass(frozen=True, kw_only=True)
class Recipe:
    steps: int
    tokens_per_step: int = 65536
    warm_up: int = 100
    """Steps, but never more than a tenth of them."""
    decay_share: float = 0.5
    """Share of the steps, at the end, over which the rate falls linearly to zero."""
    exercise_share: float = 0.1
    """Share of the steps, at the end, that read exercises among the prose."""
    exercise_mix: float = 0.5
    """Share of the rows that are exercises there."""
    shape: Shape = field(default_factory=lambda: Shape(hidden=384, layers=4, key_heads=2, inner=1024))
    start: str | None = None
    """Folder of a base whose weights are gone on from; None begins with random ones."""
    peak_share: float = 1.0
    """Of the usual peak rates; less for weights that have come to rest."""
    written_share: float = 0.0
    """Share of the groups of exercises that are on written texts of today."""
    apart: bool = False
    """Whether a group of exercises looks at itself alone, as the rows of a tuning do, and not at what stands before it
    in the window."""
    short_weight: float = 1.0
    """Of a token of an answer that is a few tokens long: in a step of thousands a label is hardly heard."""
    seed: int = 0

    @property
    def rows(self) -> int:
        return self.tokens_per_step // CONTEXT

    @property
    def mixture(self) -> Mixture:
        return Mixture(seed=self.seed, written_share=self.written_share, apart=self.apart)

    @property
    def trunk(self) -> int:
        """Steps before the exercises begin."""
        return self.steps - round(self.steps * self.exercise_share)


def recipe_of(work: Path) -> Recipe:
    stored = json.loads((work / "recipe.json").read_text())
    return Recipe(**{**stored, "shape": Shape(**stored["shape"])})


def claim(work: Path, recipe: Recipe) -> None:
    """Note whose folder it is. Raises ValueError where it is another recipe's: its streams would be read silently."""
    path, own = work / "recipe.json", json.dumps(asdict(recipe), indent=2)
    if path.exists() and path.read_text() != own:
        raise ValueError(f"{work} holds a training of another recipe; use another folder, or remove it.")
    path.write_text(own)


def rate(step: int, recipe: Recipe) -> float:
    """Share of the peak rate: linear warm-up, stable, linear decay to zero."""
    decay, warm_up = recipe.steps * recipe.decay_share, min(recipe.warm_up, recipe.steps / 10)
    return recipe.peak_share * min((step + 1) / warm_up, 1.0, (recipe.steps - step) / decay)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """The rows of each step; which, follows from the seed and the step."""

    recipe: Recipe
    prose: Tensor
    exercises: Tensor

    def batch(self, step: int) -> Tensor:
        """Ids (B, T + 1), UNTRAINED set on those that are not learnt, SHORT on those of short answers."""
        recipe = self.recipe
        exercises = round(recipe.rows * recipe.exercise_mix) if step >= recipe.trunk else 0
        prose = windows(self.prose, step * recipe.rows, recipe.rows - exercises, CONTEXT, recipe.seed)
        if not exercises:
            return prose
        first = (step - recipe.trunk) * exercises
        rows = windows(self.exercises, first, exercises, CONTEXT, recipe.seed)
        return torch.cat([prose, without_its_beginning(rows) if recipe.apart else rows])


def reader(recipe: Recipe, streams: Streams, device: torch.device) -> Reader:
    prose, exercises = (torch.tensor(ids.astype("int32"), device=device) for ids in (streams.prose, streams.exercises))
    return Reader(recipe=recipe, prose=prose, exercises=exercises)


def loss_of(model: nn.Module, rows: Tensor, *, apart: bool = False, short_weight: float = 1.0) -> Tensor:
    """Weighted mean of the loss in nats of the tokens that are learnt, of rows (B, T + 1)."""
    ids = rows % SHORT
    weights = torch.where(rows >= UNTRAINED, 0.0, torch.where(rows >= SHORT, short_weight, 1.0))[:, 1:].flatten()
    seen = seen_apart(ids[:, :-1]) if apart else None
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=computes_in_bf16(rows.device)):
        logits = model(ids[:, :-1], seen)
    losses = functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
    return (weights * losses).sum() / weights.sum()


def without_its_beginning(rows: Tensor) -> Tensor:
    """Rows whose tokens before the first begin token are not learnt: those of a group that the window cut."""
    cut = (rows % SHORT == BEGIN).cumsum(1) == 0
    return torch.where(cut, rows | UNTRAINED, rows)


def seen_apart(ids: Tensor) -> Tensor:
    """What each token (B, 1, T, T) looks at: of those before it, what came since the last begin token."""
    number = (ids == BEGIN).cumsum(1)
    return (number[:, None, :, None] == number[:, None, None, :]).tril()


def train(
    recipe: Recipe,
    corpus: Path,
    work: Path,
    *,
    until: int | None = None,
    measure_every: int = 0,
    minutes_per_checkpoint: float = 3.0,
    compiled: bool = True,
) -> Llama:
    """Train to the recipe's last step, or to `until`, from the newest checkpoint where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows_of = reader(recipe, prepare(corpus, work, recipe.mixture), device)
    torch.manual_seed(recipe.seed)
    model = Llama(recipe.shape).to(device)
    if recipe.start:
        checkpoint.take_base(Path(recipe.start), model)
    made = optimizers(model)
    mark = checkpoint.resume(work, model, made)
    log = Log(work, recipe, model, mark, measures(held_out(corpus), load(work)) if measure_every else [])
    ours: Callable[[nn.Module, Tensor], Tensor] = partial(loss_of, apart=recipe.apart, short_weight=recipe.short_weight)
    loss_fn = torch.compile(ours) if compiled else ours
    last, saved = min(until or recipe.steps, recipe.steps), time.monotonic()
    for step in range(mark.step, last):
        _step(rate(step, recipe), loss := loss_fn(model, rows_of.batch(step)), model, made)
        log.add(step + 1, loss.detach())
        if measure_every and ((step + 1) % measure_every == 0 or step + 1 == recipe.steps):
            log.measure(step + 1)
        if time.monotonic() - saved > 60 * minutes_per_checkpoint or step + 1 == last:
            checkpoint.save(work, model, made, log.mark(step + 1))
            saved = time.monotonic()
    return model


def _step(share: float, loss: Tensor, model: nn.Module, made: list[torch.optim.Optimizer]) -> None:
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in made:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def held_out(corpus: Path) -> list[Book]:
    return [book for book in read_books(corpus) if is_held_out(book)]


class Log:
    """Losses and rates, in `log.jsonl` and on the terminal."""

    def __init__(self, work: Path, recipe: Recipe, model: Llama, begun: Mark, books: list[Measure]) -> None:
        self._work, self._recipe, self._model, self._begun, self._books = work, recipe, model, begun, books
        self._losses: list[Tensor] = []
        self._device = next(model.parameters()).device
        self._matrix_rate = matrix_rate(self._device)
        self._clock = self._started = time.monotonic()
        self._paused = 0.0

    def mark(self, step: int) -> Mark:
        return Mark(step=step, seconds=self._begun.seconds + time.monotonic() - self._started - self._paused)

    def add(self, step: int, loss: Tensor) -> None:
        self._losses.append(loss)
        if len(self._losses) == LOG_EVERY:
            mean = float(torch.stack(self._losses).mean())
            now = time.monotonic()
            rate_now = LOG_EVERY * self._recipe.tokens_per_step / (now - self._clock)
            share = rate_now * flops_per_token(self._model, self._recipe.shape) / self._matrix_rate
            self._tell(
                step=step,
                of=self._recipe.steps,
                loss=round(mean, 4),
                tokens_per_second=round(rate_now),
                share=round(share, 3),
            )
            self._losses, self._clock = [], now

    def measure(self, step: int) -> None:
        """Bits per byte of the held-out books; its time is not training's."""
        before = time.monotonic()
        found = [bits_per_byte(self._model, book) for book in self._books]
        tokens = step * self._recipe.tokens_per_step
        self._tell(step=step, tokens=tokens, bits_per_byte=round(math.fsum(found) / len(found), 4))
        took = time.monotonic() - before
        self._clock, self._paused = self._clock + took, self._paused + took

    def _tell(self, **line: object) -> None:
        told = json.dumps(line)
        with (self._work / "log.jsonl").open("a") as log:
            log.write(told + "\n")
        print(told, flush=True)


def flops_per_token(model: Llama, shape: Shape) -> float:
    """6 for each parameter, the head counted once, and causal attention's 6 L T D (half of full attention's 12)."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return 6 * parameters + 6 * shape.layers * CONTEXT * shape.hidden


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--tokens-per-step", type=int, default=65536)
    parser.add_argument("--shape", type=_shape, default="384,4,2,1024", help="hidden,layers,key_heads,inner")
    parser.add_argument("--exercise-mix", type=float, default=0.5, help="share of exercises in the last tenth")
    parser.add_argument(
        "--exercise-share", type=float, default=0.1, help="share of the steps, at the end, with exercises"
    )
    parser.add_argument("--start", help="folder of a base to go on from")
    parser.add_argument("--peak-share", type=float, default=1.0, help="of the usual peak rates")
    parser.add_argument("--written-share", type=float, default=0.0, help="share of exercises on written texts of today")
    parser.add_argument("--apart", action="store_true", help="an exercise does not look at the one before it")
    parser.add_argument("--short-weight", type=float, default=1.0, help="of each token of an answer of a few tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until", type=int, help="stop at this step; the same command without it goes on")
    parser.add_argument("--measure-every", type=int, default=0, help="steps between looks at the held-out books")
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which needs a C++ compiler")
    return parser


def _shares(given: argparse.Namespace) -> tuple[float, ...]:
    return given.exercise_mix, given.exercise_share, given.written_share


def _shape(text: str) -> Shape:
    try:
        hidden, layers, key_heads, inner = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers, as in 384,4,2,1024") from None
    shape = Shape(hidden=hidden, layers=layers, key_heads=key_heads, inner=inner)
    if min(hidden, layers, key_heads, inner) < 1 or hidden % HEAD_WIDTH or shape.heads % key_heads:
        raise argparse.ArgumentTypeError(f"{text!r}: hidden is a multiple of {HEAD_WIDTH}, and its heads of key_heads")
    return shape


def main() -> None:
    parser = _parser()
    given = parser.parse_args()
    if given.steps < 1 or given.tokens_per_step < CONTEXT or min(given.peak_share, given.short_weight) <= 0:
        parser.error(
            f"--steps is at least 1, --tokens-per-step at least {CONTEXT}, --peak-share and --short-weight more than 0"
        )
    if not all(0 <= share <= 1 for share in _shares(given)):
        parser.error("--exercise-mix, --exercise-share and --written-share are from 0 to 1")
    recipe = Recipe(
        steps=given.steps,
        tokens_per_step=given.tokens_per_step,
        exercise_share=given.exercise_share,
        exercise_mix=given.exercise_mix,
        shape=given.shape,
        start=given.start,
        peak_share=given.peak_share,
        written_share=given.written_share,
        apart=given.apart,
        short_weight=given.short_weight,
        seed=given.seed,
    )
    torch.set_float32_matmul_precision("high")
    with told():
        given.work.mkdir(parents=True, exist_ok=True)
        if not (given.work / "tokenizer.json").exists():
            shutil.copy(POCKET / "tokenizer.json", given.work)
        claim(given.work, recipe)
        train(
            recipe,
            given.corpus,
            given.work,
            until=given.until,
            measure_every=given.measure_every,
            compiled=not given.eager,
        )


if __name__ == "__main__":
    main()
