"""GGUF files, read back by our own reader, by transformers' and, where it is installed, by llama.cpp itself."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers
from tokenizers import Regex, Tokenizer, pre_tokenizers

from fewtune.bases.folder import open_encoder
from fewtune.engine import gguf_file, llama_cpp
from fewtune.engine.gguf_tokenizer import UnknownTokenizer, read_vocabulary
from fewtune.engine.merging import open_merged
from fewtune.errors import BaseModelError
from fewtune.types import Example, Source
from standin.peft_adapters import logits_of, save_adapter
from standin.tiny_models import FAMILIES, GROUPED, save_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

CONFIGS: Mapping[str, Callable[[int], Any]] = {
    "llama": FAMILIES["llama"],
    "mistral": lambda size: transformers.MistralConfig(vocab_size=size, sliding_window=None, **GROUPED),
    "qwen2": FAMILIES["qwen2"],
    "qwen3": FAMILIES["qwen3"],
    "biases": lambda size: transformers.LlamaConfig(vocab_size=size, attention_bias=True, mlp_bias=True, **GROUPED),
    "tied": lambda size: transformers.LlamaConfig(vocab_size=size, tie_word_embeddings=True, **GROUPED),
    "more tokens than the tokenizer": lambda size: transformers.LlamaConfig(vocab_size=size + 13, **GROUPED),
    "wide heads": lambda size: transformers.LlamaConfig(vocab_size=size, head_dim=16, **GROUPED),
    "smollm": FAMILIES["smollm"],
    "stretched llama": FAMILIES["stretched llama"],
}
PAIRS = (
    ("Capital of France?", "It is Paris."),
    ("Norway 1234?", "Oslo."),
    ("Cuba ✓ 12.5%", "Havana é  x"),
    ("a  b\n\nc's it's", "ok\n done"),
)
EXAMPLES = tuple(
    Example(row=row, prompt=prompt, completion=completion, source=Source(file="rows.csv", line=row + 2))
    for row, (prompt, completion) in enumerate(PAIRS)
)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Callable[[int], Any]], tuple[Path, Path, torch.Tensor]]:
    """A base, the GGUF file of it with an adapter, and the logits of both together by PEFT."""

    def write(config: Callable[[int], Any]) -> tuple[Path, Path, torch.Tensor]:
        base = save_model(tmp_path / "base", config)
        logits = save_adapter(base, tmp_path / "adapter")
        gguf_file.write(
            tmp_path / "model.gguf", open_merged(base, tmp_path / "adapter"), "tiny", open_encoder(str(base))
        )
        return base, tmp_path / "model.gguf", logits

    return write


def folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_read_back_is_what_was_tuned(name: str, written: Callable[..., Any], tmp_path: Path) -> None:
    base, file, logits = written(CONFIGS[name])
    back = folder(tmp_path, "back")
    gguf_file.read_back(file, open_merged(base, tmp_path / "adapter"), back)
    apart = (logits_of(back) - logits).abs()
    # F16 keeps 11 binary digits; a permutation left out moves these logits by tenths.
    assert apart.mean() < 5e-3
    assert apart.max() < 5e-2


# Not qwen3, of which it does not read how wide a head is.
@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "tied"])
def test_transformers_own_reader_sees_the_same_model(name: str, written: Callable[..., Any], tmp_path: Path) -> None:
    _, file, logits = written(CONFIGS[name])
    assert (logits_of(tmp_path, gguf_file=file.name) - logits).abs().mean() < 5e-3


@pytest.mark.skipif(not llama_cpp.can_score(), reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("name", CONFIGS)
def test_llama_cpp_scores_answers_as_the_tuned_model_does(
    name: str, written: Callable[..., Any], tmp_path: Path
) -> None:
    base, file, _ = written(CONFIGS[name])
    encoder = open_encoder(str(base))
    back = folder(tmp_path, "back")
    gguf_file.read_back(file, open_merged(base, tmp_path / "adapter"), back)
    model = transformers.AutoModelForCausalLM.from_pretrained(back, dtype=torch.float32).eval()
    for example, theirs in zip(EXAMPLES, llama_cpp.log_likelihoods(file, encoder, EXAMPLES), strict=True):
        encoded = encoder.example(example)
        with torch.no_grad():
            shares = model(input_ids=torch.tensor([encoded.ids])).logits[0].log_softmax(dim=-1)
        ours = [
            float(shares[place - 1, encoded.ids[place]]) for place in range(encoded.prompt_length, len(encoded.ids))
        ]
        # Its activations and its cache are F16 too.
        assert theirs == pytest.approx(ours, abs=5e-2)
        assert sum(map(abs, map(float.__sub__, theirs, ours))) / len(ours) < 5e-3


CONTRACTIONS, WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def split_by(pattern: str) -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BYTES])


KNOWN: Mapping[str, tuple[Any, bool]] = {
    "gpt-2": (pre_tokenizers.ByteLevel(add_prefix_space=False), False),
    "smollm": (
        pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        ),
        False,
    ),
    "qwen2": (split_by(rf"{CONTRACTIONS}|{WORDS}|\p{{N}}|{REST}"), False),
    "llama-bpe": (split_by(rf"{CONTRACTIONS}|{WORDS}|\p{{N}}{{1,3}}|{REST}"), True),
    "smaug-bpe": (split_by(rf"{CONTRACTIONS}|{WORDS}|\p{{N}}{{1,3}}|{REST}"), False),
}


def with_tokenizer(base: Path, splitter: Any, ignore_merges: bool) -> Tokenizer:
    path = base / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.pre_tokenizer = splitter
    stored = json.loads(tokenizer.to_str())
    stored["model"]["ignore_merges"] = ignore_merges
    path.write_text(json.dumps(stored), encoding="utf-8")
    return Tokenizer.from_file(str(path))


@pytest.mark.parametrize("name", KNOWN)
def test_the_usual_tokenizers_are_recognised(name: str, tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", FAMILIES["llama"])
    tokenizer = with_tokenizer(base, *KNOWN[name])
    vocabulary = read_vocabulary(base, json.loads((base / "config.json").read_text()))
    assert vocabulary.splitting == name
    assert (vocabulary.begin_id, vocabulary.begins, vocabulary.end_id, vocabulary.pad_id) == (0, True, 1, 2)
    assert [tokenizer.token_to_id(token) for token in vocabulary.tokens] == list(range(tokenizer.get_vocab_size()))
    kinds = [gguf.TokenType(kind) for kind in vocabulary.kinds]
    assert kinds[:4] == [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL]


def test_the_built_in_base_is_known() -> None:
    base = open_encoder("pocket")
    from fewtune.bases.folder import describe, locate

    vocabulary = read_vocabulary(locate("pocket"), describe("pocket"))
    assert vocabulary.splitting == "smollm"
    assert vocabulary.end_id == base.end_id
    assert vocabulary.begins


@pytest.mark.skipif(not llama_cpp.can_score(), reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("name", KNOWN)
def test_llama_cpp_cuts_any_text_into_the_same_tokens(name: str, tmp_path: Path) -> None:
    import llama_cpp as installed

    base = save_model(tmp_path / "base", FAMILIES["llama"])
    tokenizer = with_tokenizer(base, *KNOWN[name])
    save_adapter(base, tmp_path / "adapter")
    gguf_file.write(tmp_path / "model.gguf", open_merged(base, tmp_path / "adapter"), "tiny", open_encoder(str(base)))
    model = installed.Llama(str(tmp_path / "model.gguf"), n_ctx=128, verbose=False)
    drawn = random.Random(0)
    letters = "aBé ß1٣½Ⅷ9 \n\t\r'sStTlLrReE.,!?-/\\ 你한🚀#ﬁ\u00a0\u200b\u3000\u0301{}\"<|end|>"
    for _ in range(1000):
        text = "".join(drawn.choice(letters) for _ in range(drawn.randint(1, 24)))
        assert model.tokenize(text.encode(), add_bos=True, special=False) == tokenizer.encode(text).ids, text


UNKNOWN = {
    "another pattern": lambda stored: stored.update(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Isolated", "invert": False}
    ),
    "none": lambda stored: stored.update(pre_tokenizer=None),
    "a space before each text": lambda stored: stored["pre_tokenizer"].update(add_prefix_space=True),
    "whole words first": lambda stored: stored["model"].update(ignore_merges=True),
    "lower case": lambda stored: stored.update(normalizer={"type": "Lowercase"}),
    "bytes as a way out": lambda stored: stored["model"].update(byte_fallback=True),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_tokenizer_that_is_not_known_to_the_letter_is_refused(name: str, tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", FAMILIES["llama"])
    path = base / "tokenizer.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    UNKNOWN[name](stored)
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(UnknownTokenizer, match="cannot be written as GGUF"):
        read_vocabulary(base, json.loads((base / "config.json").read_text()))


REFUSED = {
    "another family": (FAMILIES["gpt2"], "kind 'gpt2'"),
    "a window": (FAMILIES["mistral"], "sees 8 tokens back"),
    "a stretched rotation of another kind": (
        lambda size: transformers.LlamaConfig(
            vocab_size=size, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}, **GROUPED
        ),
        "rotary embedding",
    ),
    "another activation": (
        lambda size: transformers.LlamaConfig(vocab_size=size, hidden_act="gelu", **GROUPED),
        "activation is 'gelu'",
    ),
}


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_llama_cpp_would_compute_otherwise_is_refused(name: str, written: Callable[..., Any]) -> None:
    config, words = REFUSED[name]
    with pytest.raises(BaseModelError, match=words):
        written(config)


def test_a_byte_that_flips_on_the_disk_is_noticed(written: Callable[..., Any], tmp_path: Path) -> None:
    base, file, _ = written(CONFIGS["llama"])
    content = bytearray(file.read_bytes())
    content[-100] ^= 0x40
    file.write_bytes(content)
    with pytest.raises(BaseModelError, match="not in the file as it was written"):
        gguf_file.read_back(file, open_merged(base, tmp_path / "adapter"), folder(tmp_path, "back"))


def test_weights_beyond_f16_are_refused(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", CONFIGS["llama"])
    save_adapter(base, tmp_path / "adapter", alpha=100_000_000)
    with pytest.raises(BaseModelError, match="beyond what F16 holds"):
        gguf_file.write(
            tmp_path / "model.gguf", open_merged(base, tmp_path / "adapter"), "tiny", open_encoder(str(base))
        )


def test_reordering_rows_for_llama_cpp_is_undone_exactly() -> None:
    tensor = torch.arange(24.0).view(12, 2)
    assert torch.equal(gguf_file.halved(gguf_file.interleaved(tensor, 3), 3), tensor)
    assert gguf_file.interleaved(tensor, 3)[:4, 0].tolist() == [0.0, 4.0, 2.0, 6.0]
