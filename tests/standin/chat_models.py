"""Chat templates in the style of the known families, and tokenizers that know their special tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from fewtune.data.chat import open_chat
from fewtune.data.chat_template import open_template
from fewtune.data.encode import Encoder
from standin.tiny_models import END, FAMILIES, make_tokenizer, save_model

NAMES = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}


@dataclass(frozen=True, kw_only=True)
class Style:
    template: str
    special: tuple[str, ...] = ()
    stop: str = "<|end|>"
    lead: str = ""
    swallows: bool = False
    """The special tokens swallow the white space after them."""


STYLES = {
    "chatml": Style(
        template="""{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{%- for call in message.tool_calls or [] %}
{{- '\\n<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
        special=("<|im_start|>", "<|im_end|>"),
        stop="<|im_end|>",
    ),
    "llama": Style(
        template="""{{ bos_token }}
{%- macro head(role) %}{{ '<|head|>' ~ role ~ '<|/head|>\\n\\n' }}{% endmacro %}
{%- if tools is not none %}{{ head('system') ~ 'Today is ' ~ strftime_now('%d %b %Y') ~ (tools | tojson) ~ '<|eot|>' }}
{%- endif %}
{%- for message in messages %}{{ head(message['role']) ~ message['content'] | trim ~ '<|eot|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ head('assistant') }}{% endif %}""",
        special=("<|head|>", "<|/head|>", "<|eot|>"),
        stop="<|eot|>",
    ),
    "gemma": Style(
        template="""{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('No system here') }}{% endif %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Turns must alternate') }}{% endif %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<turn>' + role + '\\n' + message['content'] | trim + '</turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}""",
        special=("<turn>", "</turn>"),
        stop="</turn>",
    ),
    "mistral": Style(
        template="""{{ bos_token }}{% for message in messages %}
{%- if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}
{%- endif %}{% endfor %}""",
        special=("[INST]", "[/INST]"),
        lead=" ",
    ),
    "phi": Style(
        template="""{% for message in messages %}
{{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|over|>\\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
        special=("<|system|>", "<|user|>", "<|assistant|>", "<|over|>"),
        stop="<|over|>",
        swallows=True,
    ),
    "zephyr": Style(
        template="""{% for message in messages %}
{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token }}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    ),
    # Says nothing of earlier thoughts, and shows that there were none in the last answer.
    "thinking": Style(
        template="""{%- set ns = namespace(last=0) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
{%- set content = message.content %}{% set thought = '' %}
{%- if '</think>' in content %}
{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and loop.index0 > ns.last %}
{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}
{%- endif %}
{{- content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
        special=("<|im_start|>", "<|im_end|>"),
        stop="<|im_end|>",
        lead="<think>\n\n</think>\n\n",
    ),
    # Ends its turns with no token of its own.
    "alpaca": Style(
        template="{% for message in messages %}{{ '### ' + message.role + ':\\n' + message.content + '\\n\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '### assistant:\\n' }}{% endif %}",
    ),
}


def tokenizer_of(style: Style, tokenizer: Tokenizer | None = None) -> Tokenizer:
    """The given tokenizer, or the one of the tiny models, with the style's tokens added."""
    tokenizer = tokenizer or make_tokenizer()
    tokens = [AddedToken(name, special=True, normalized=False, rstrip=style.swallows) for name in style.special]
    tokenizer.add_special_tokens(tokens)
    return tokenizer


def encoder_of(style: Style, tokenizer: Tokenizer | None = None, context: int = 1000) -> Encoder:
    tokenizer = tokenizer_of(style, tokenizer)
    tokenizer.encode_special_tokens = True
    chat = open_chat(open_template(style.template, NAMES, "chat_template.jinja"), tokenizer, END)
    others = () if chat.stop_id == END else (chat.stop_id,)
    return Encoder(tokenizer=tokenizer, end_id=END, other_end_ids=others, context=context, chat=chat)


def save_chat_model(folder: Path, style: Style) -> Path:
    """A small Llama with a chat template and its tokens."""
    save_model(folder, lambda size: FAMILIES["llama"](size + len(style.special)))
    tokenizer_of(style).save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(style.template)
    (folder / "tokenizer_config.json").write_text(json.dumps(NAMES))
    return folder


def seen_by_transformers(style: Style, tokenizer: Tokenizer | None = None) -> Any:
    """transformers' own tokenizer with the same template and tokens."""
    import transformers

    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_of(style, tokenizer), chat_template=style.template, **NAMES
    )
