from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from fewtune.bases import folder as bases
from fewtune.errors import BaseModelError, UsageError
from fewtune.types import Example, Source

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ 'Q: ' if message.role == 'user' else '' }}{{ message.content }}"
    "{{ '\\nA:' if message.role == 'user' else eos_token }}{% endfor %}"
)
CONFIG = {"model_type": "llama", "hidden_size": 48, "eos_token_id": 1, "max_position_embeddings": 256}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder that looks like a base; its weights are never read here."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(b"")
    save_tokenizer(tmp_path)
    return tmp_path


def save_tokenizer(folder: Path, *, cut_at: int | None = None, pad_to: int | None = None) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["Lima is the capital of Peru."], trainer)
    if cut_at:
        tokenizer.enable_truncation(cut_at)
    if pad_to:
        tokenizer.enable_padding(length=pad_to)
    tokenizer.save(str(folder / "tokenizer.json"))


def change_config(folder: Path, **changed: Any) -> None:
    config = {**CONFIG, **changed}
    kept = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


class TestLocate:
    def test_the_built_in_base_lies_within_the_package(self) -> None:
        assert bases.locate("pocket").name == "pocket"
        assert bases.locate("pocket").parent == Path(bases.__file__).parent

    def test_a_folder_is_taken_as_it_is_given(self, base: Path) -> None:
        assert bases.locate(str(base)) == base

    def test_a_folder_below_home_may_be_written_with_a_tilde(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(base.parent))
        assert bases.locate(f"~/{base.name}") == base

    @pytest.mark.parametrize("name", ["nosuchbase", "/no/such/folder", "../x", "a/b/c", "owner/", "-x/y"])
    def test_what_is_neither_folder_nor_hub_id_is_refused_with_advice(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Whatever lies beside the folder that the tests are started in does not matter.
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(UsageError, match=r"There is no base .*no such folder.*'pocket'") as caught:
            bases.locate(name)
        assert caught.value.exit_code == 2

    def test_a_missing_folder_within_one_that_is_there_is_not_looked_for_on_the_hub(
        self, base: Path, monkeypatch: pytest.MonkeyPatch, shut_sockets: list[str]
    ) -> None:
        monkeypatch.chdir(base.parent)
        with pytest.raises(UsageError, match="no such folder"):
            bases.locate(f"{base.name}/missing")

    def test_a_file_is_no_base(self, base: Path) -> None:
        with pytest.raises(UsageError, match="There is no base"):
            bases.locate(str(base / "config.json"))


class TestDescribe:
    def test_a_base_gives_its_config(self, base: Path) -> None:
        assert bases.describe(str(base)) == CONFIG

    def test_a_folder_without_config_is_no_base(self, base: Path) -> None:
        (base / "config.json").unlink()
        with pytest.raises(BaseModelError, match=r"No readable config\.json") as caught:
            bases.describe(str(base))
        assert caught.value.where == str(base)
        assert caught.value.exit_code == 4

    @pytest.mark.parametrize("content", [b"", b'{"a": ', b"[]x", b"\xff\xfe", b"3", b'"text"'])
    def test_a_config_that_cannot_be_read_is_refused(self, base: Path, content: bytes) -> None:
        (base / "config.json").write_bytes(content)
        with pytest.raises(BaseModelError, match=r"No readable config\.json"):
            bases.describe(str(base))

    def test_a_base_that_wants_to_run_its_own_code_is_refused(self, base: Path) -> None:
        change_config(base, auto_map={"AutoModelForCausalLM": "modeling_mine.MyModel"})
        with pytest.raises(BaseModelError, match=r"code of its own \(auto_map.*never done.*architecture"):
            bases.describe(str(base))

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
    def test_pickled_weights_are_not_read(self, base: Path, name: str) -> None:
        (base / "model.safetensors").rename(base / name)
        with pytest.raises(BaseModelError, match=r"No \.safetensors weights.*pickled weights are not read.*Convert"):
            bases.describe(str(base))


class TestWidth:
    @pytest.mark.parametrize("name", ["hidden_size", "n_embd", "d_model"])
    def test_each_family_has_its_name_for_it(self, base: Path, name: str) -> None:
        change_config(base, **{"hidden_size": None, name: 96})
        assert bases.width(str(base)) == 96

    def test_a_base_that_names_none_is_refused(self, base: Path) -> None:
        change_config(base, hidden_size=None)
        with pytest.raises(BaseModelError, match="names no width"):
            bases.width(str(base))


class TestOpenEncoder:
    def test_end_token_and_context_come_from_the_config(self, base: Path) -> None:
        encoder = bases.open_encoder(str(base))
        assert (encoder.end_id, encoder.context) == (1, 256)

    def test_of_several_end_tokens_the_first_is_the_stop(self, base: Path) -> None:
        change_config(base, eos_token_id=[1, 0])
        encoder = bases.open_encoder(str(base))
        assert (encoder.end_id, encoder.stop_ids) == (1, (1, 0))

    def test_an_end_token_of_id_zero_is_one(self, base: Path) -> None:
        change_config(base, eos_token_id=0)
        assert bases.open_encoder(str(base)).end_id == 0

    def test_gpt_2s_name_for_the_context_is_known(self, base: Path) -> None:
        change_config(base, max_position_embeddings=None, n_positions=77)
        assert bases.open_encoder(str(base)).context == 77

    def test_a_base_without_a_fast_tokenizer_is_refused(self, base: Path) -> None:
        (base / "tokenizer.json").unlink()
        with pytest.raises(BaseModelError, match=r"no tokenizer\.json.*fast tokenizer"):
            bases.open_encoder(str(base))

    @pytest.mark.parametrize("content", ["", "{}", '{"model": 3}'])
    def test_a_tokenizer_that_cannot_be_read_is_refused(self, base: Path, content: str) -> None:
        (base / "tokenizer.json").write_text(content)
        with pytest.raises(BaseModelError, match="tokenizer cannot be read") as caught:
            bases.open_encoder(str(base))
        assert caught.value.where == str(base / "tokenizer.json")

    @pytest.mark.parametrize("end", [None, []])
    def test_a_base_without_an_end_token_is_refused(self, base: Path, end: object) -> None:
        change_config(base, eos_token_id=end)
        with pytest.raises(BaseModelError, match=r"no end token \(eos_token_id\)") as caught:
            bases.open_encoder(str(base))
        assert caught.value.where == str(base / "config.json")

    def test_what_the_tokenizer_would_cut_or_pad_is_neither(self, base: Path) -> None:
        row = Example(row=0, prompt="Peru " * 10, completion="Lima", source=Source(file="rows.csv", line=2))
        plain = bases.open_encoder(str(base)).example(row)
        save_tokenizer(base, cut_at=4)
        assert bases.open_encoder(str(base)).example(row) == plain
        save_tokenizer(base, pad_to=64)
        assert bases.open_encoder(str(base)).example(row) == plain

    def test_a_base_without_a_template_is_plain_and_cannot_be_a_chat_model(self, base: Path) -> None:
        assert bases.recipe_of(str(base)) == bases.open_encoder(str(base)).recipe == "completion"
        with pytest.raises(UsageError, match="no chat template, so it cannot be tuned as a chat model"):
            bases.open_encoder(str(base), "chat")

    @pytest.mark.parametrize(
        "config", [{"chat_template": TEMPLATE}, {"chat_template": [{"name": "default", "template": TEMPLATE}]}, None]
    )
    def test_a_base_with_a_template_is_a_chat_model_wherever_the_template_is(
        self, base: Path, config: dict[str, Any] | None
    ) -> None:
        if config is None:
            (base / "chat_template.jinja").write_text(TEMPLATE)
        names = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "unk_token": None}
        (base / "tokenizer_config.json").write_text(json.dumps({**names, **(config or {})}))
        encoder = bases.open_encoder(str(base))
        assert encoder.recipe == bases.recipe_of(str(base)) == "chat"
        text = encoder.tokenizer.decode(list(encoder.prompt("Peru?")), skip_special_tokens=False)
        assert text == "<s>Q: Peru?\nA:"
        assert bases.open_encoder(str(base), "completion").recipe == "completion"

    def test_a_base_with_a_template_may_say_that_it_is_plain(self, base: Path) -> None:
        (base / "chat_template.jinja").write_text(TEMPLATE)
        (base / "tokenizer_config.json").write_text('{"fewtune_recipe": "completion"}')
        assert bases.open_encoder(str(base)).recipe == "completion"
        assert bases.open_encoder(str(base), "chat").recipe == "chat"
        assert bases.open_encoder("pocket").recipe == "completion"

    def test_of_several_templates_the_default_counts(self, base: Path) -> None:
        named = [{"name": "tools", "template": TEMPLATE}, 3]
        (base / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
        assert bases.recipe_of(str(base)) == "completion"

    @pytest.mark.parametrize("content", ["{", "[" * 100_000])
    def test_a_tokenizer_config_that_cannot_be_read_is_refused(self, base: Path, content: str) -> None:
        (base / "tokenizer_config.json").write_text(content)
        with pytest.raises(BaseModelError, match="not JSON"):
            bases.open_encoder(str(base))

    def test_a_template_that_cannot_be_used_is_named_with_the_way_around_it(self, base: Path) -> None:
        (base / "chat_template.jinja").write_text("{% include 'x' %}")
        with pytest.raises(
            BaseModelError, match=r"chat_template\.jinja: .*include is not allowed.*--recipe completion"
        ):
            bases.open_encoder(str(base))
        assert bases.open_encoder(str(base), "completion").recipe == "completion"

    def test_the_templates_own_stop_ends_an_answer_too(self, base: Path) -> None:
        (base / "chat_template.jinja").write_text(TEMPLATE.replace("eos_token", "bos_token"))
        (base / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}')
        encoder = bases.open_encoder(str(base))
        assert (encoder.end_id, encoder.stop_ids) == (1, (1, 0))
        assert encoder.completion("Lima")[-1] == 0

    def test_an_end_token_that_a_row_spells_is_only_text(self, base: Path) -> None:
        encoder = bases.open_encoder(str(base))
        assert 1 not in encoder.prompt("a </s> b")
        assert encoder.completion("a </s> b").count(1) == 1
