from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import jinja2
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from fewtune.bases.folder import open_encoder
from fewtune.data.encode import PLAIN_FRAME
from fewtune.engine import export, llama_cpp
from fewtune.engine.modelfile import chat_template, modelfile
from fewtune.errors import BaseModelError, UnfinishedError, UsageError
from standin.chat_models import STYLES, save_chat_model
from standin.peft_adapters import IDS, logits_of, save_adapter
from standin.tiny_models import FAMILIES, save_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]

Exported = Callable[..., tuple[export.Written, Path, torch.Tensor]]


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    """What was written, the folder, and the logits that it should give."""

    def write(kind: str, family: str = "llama") -> tuple[export.Written, Path, torch.Tensor]:
        base = save_model(tmp_path / "base", FAMILIES[family])
        logits = save_adapter(base, tmp_path / "adapter")
        for name in ("out", "scraps"):
            (tmp_path / name).mkdir()
        written = export.write(kind, base, tmp_path / "adapter", "tiny", tmp_path / "out", tmp_path / "scraps")
        return written, tmp_path / "out", logits

    return write


@pytest.mark.parametrize("kind", export.FORMATS)
def test_every_format_can_be_read_again_as_a_base_that_means_the_same(kind: str, exported: Exported) -> None:
    written, _, logits = exported(kind)
    assert written.as_base
    assert (logits_of(written.as_base) - logits).abs().mean() < {"peft": 1e-5, "merged": 1e-5, "gguf": 5e-3}[kind]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_peft_folder_gives_the_same_logits_in_peft(family: str, exported: Exported, tmp_path: Path) -> None:
    _, out, logits = exported("peft", family)
    bare = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    with torch.no_grad():
        theirs = peft.PeftModel.from_pretrained(bare, out).eval()(input_ids=IDS).logits
    torch.testing.assert_close(theirs, logits, rtol=0, atol=1e-4)
    assert sorted(path.name for path in out.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_coarser_type_allows_more_drift(exported: Exported) -> None:
    assert exported("peft")[0].tolerance <= export.tolerance("F16", computed_in_bf16=False)
    assert export.tolerance("F16", computed_in_bf16=False) < export.tolerance("BF16", computed_in_bf16=False)
    assert export.tolerance("F32", computed_in_bf16=True) > export.tolerance("BF16", computed_in_bf16=False)


def test_a_format_that_is_not_there_is_refused_with_those_that_are(exported: Exported) -> None:
    with pytest.raises(UsageError, match="peft, merged, gguf"):
        exported("onnx")


def test_without_the_gguf_package_the_extra_is_named(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'fewtune\[gguf\]'"):
        exported("gguf")


class TestTheFolder:
    def test_it_appears_whole_with_nothing_beside_it(self, tmp_path: Path) -> None:
        out = tmp_path / "deep" / "out"
        with export.aside(out) as (filled, scraps):
            (filled / "a").write_text("1")
            (scraps / "b").write_text("2")
            assert not out.exists()
        assert [path.name for path in out.iterdir()] == ["a"]
        assert list(out.parent.iterdir()) == [out]

    def test_an_empty_one_is_used(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with export.aside(tmp_path / "out") as (filled, _):
            (filled / "a").write_text("1")
        assert (tmp_path / "out" / "a").exists()

    def test_one_that_holds_something_is_refused_before_any_work(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("precious")
        with pytest.raises(UsageError, match="not empty"), export.aside(tmp_path / "out"):
            pytest.fail("it was used")
        with pytest.raises(UsageError, match="a file of this name"), export.aside(tmp_path / "out" / "mine"):
            pytest.fail("it was used")
        assert (tmp_path / "out" / "mine").read_text() == "precious"

    def test_after_an_error_there_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(BaseModelError), export.aside(tmp_path / "out") as (filled, _):
            (filled / "a").write_text("1")
            raise BaseModelError("No.")
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_told_as_one_and_leaves_none(self, tmp_path: Path) -> None:
        with pytest.raises(UnfinishedError, match="disk is full"), export.aside(tmp_path / "out"):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
    @pytest.mark.parametrize("kind", ["merged", "gguf"])
    def test_weights_that_do_not_fit_on_the_disk_say_so(self, kind: str, exported: Exported, tmp_path: Path) -> None:
        full = {"merged": "model.safetensors", "gguf": "model.gguf"}[kind]
        base = save_model(tmp_path / "base", FAMILIES["llama"])
        save_adapter(base, tmp_path / "adapter")
        with pytest.raises(UnfinishedError, match="disk is full"), export.aside(tmp_path / "out") as (filled, scraps):
            (filled / full).symlink_to("/dev/full")
            export.write(kind, base, tmp_path / "adapter", "tiny", filled, scraps)
        assert not (tmp_path / "out").exists()


class TestLlamaCppsConverter:
    @pytest.fixture(autouse=True)
    def _away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(llama_cpp.HOME, raising=False)
        monkeypatch.setenv("PATH", "")

    def test_without_it_a_family_that_is_not_written_here_is_refused_with_the_way_out(self, exported: Exported) -> None:
        with pytest.raises(BaseModelError, match=r"kind 'gpt2'.*LLAMA_CPP_HOME.*llama-cpp-python.*merged"):
            exported("gguf", "gpt2")

    @pytest.mark.parametrize(
        ("script", "words"),
        [("raise SystemExit('no such model')", "no such model"), ("pass", "it said nothing")],
    )
    def test_its_failure_is_told_in_its_own_words(
        self, script: str, words: str, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "convert_hf_to_gguf.py").write_text(script)
        monkeypatch.setenv(llama_cpp.HOME, str(tmp_path))
        monkeypatch.setattr(llama_cpp, "can_score", lambda: True)
        with pytest.raises(BaseModelError, match=f"converter failed: {words}"):
            exported("gguf", "gpt2")

    def test_it_is_given_the_merged_model_and_what_it_writes_is_kept(
        self, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "convert_hf_to_gguf.py").write_text(
            "import pathlib, sys\n"
            "weights = pathlib.Path(sys.argv[1], 'model.safetensors').read_bytes()\n"
            "pathlib.Path(sys.argv[sys.argv.index('--outfile') + 1]).write_bytes(weights)\n"
        )
        monkeypatch.setenv(llama_cpp.HOME, str(tmp_path))
        monkeypatch.setattr(llama_cpp, "can_score", lambda: True)
        written, out, logits = exported("gguf", "gpt2")
        assert written.as_base is None
        assert (out / "Modelfile").exists()
        (out / "model.gguf").rename(tmp_path / "base" / "model.safetensors")
        torch.testing.assert_close(logits_of(tmp_path / "base"), logits, rtol=0, atol=1e-4)

    def test_one_on_the_path_is_run_as_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        script = tmp_path / "convert_hf_to_gguf.py"
        script.write_text(f"#!{sys.executable}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert llama_cpp.converter() == [str(script)]


class TestRecipes:
    def test_a_merged_plain_base_has_a_template_for_servers_and_stays_plain(self, exported: Exported) -> None:
        _, out, _ = exported("merged")
        assert (out / "chat_template.jinja").read_text() == chat_template(PLAIN_FRAME)
        assert open_encoder(str(out)).recipe == "completion"

    @pytest.mark.parametrize("kind", ["merged", "gguf"])
    @pytest.mark.parametrize("recipe", ["chat", "completion"])
    def test_a_chat_model_is_read_again_as_it_was_tuned(self, kind: str, recipe: str, tmp_path: Path) -> None:
        base = save_chat_model(tmp_path / "base", STYLES["chatml"])
        save_adapter(base, tmp_path / "adapter")
        for name in ("out", "scraps"):
            (tmp_path / name).mkdir()
        out, scraps = tmp_path / "out", tmp_path / "scraps"
        written = export.write(kind, base, tmp_path / "adapter", "tiny", out, scraps, recipe=recipe)
        assert written.as_base is not None
        assert open_encoder(str(written.as_base), recipe).recipe == recipe
        if kind == "merged":
            assert open_encoder(str(out)).recipe == recipe
            own = (out / "chat_template.jinja").read_text() == STYLES["chatml"].template
            assert own == (recipe == "chat")
        else:
            lines = (out / "Modelfile").read_text()
            assert ("TEMPLATE" in lines) == (recipe == "completion")
            assert f'stop "{"<|im_end|>" if recipe == "chat" else "<|end|>"}"' in lines


class TestTheFrame:
    def test_the_modelfile_puts_a_prompt_into_the_frame_of_training(self) -> None:
        encoder = open_encoder("pocket")
        lines = modelfile("model.gguf", encoder).splitlines()
        assert lines[0] == "FROM ./model.gguf"
        assert lines[1].removeprefix('TEMPLATE """').removesuffix('"""').replace("{{ .Prompt }}", "A prompt") == (
            PLAIN_FRAME.prompt_text("A prompt")
        )
        assert lines[2:] == ['PARAMETER stop "<|end|>"', "PARAMETER num_ctx 1024", "PARAMETER temperature 0"]

    def test_the_chat_template_writes_what_a_prompt_with_worked_examples_is(self) -> None:
        template = jinja2.Environment().from_string(chat_template(PLAIN_FRAME))
        turns = [("user", " France? "), ("assistant", "Paris."), ("user", "It's 'Norway'?")]
        messages = [{"role": role, "content": content} for role, content in turns]
        assert template.render(messages=messages) == PLAIN_FRAME.few_shot_text(
            "It's 'Norway'?", [("France?", "Paris.")]
        )
