"""The frame of a plain base in the template languages of those who will serve the tuned model."""

from __future__ import annotations

from fewtune.data.encode import Encoder, Frame


def modelfile(weights: str, encoder: Encoder) -> str:
    """Ollama's Modelfile: the prompt goes into the same frame as in training, the most likely answer comes out.

    For a chat model it names no template: Ollama finds the base's own in the file of the weights.
    """
    end = encoder.tokenizer.id_to_token(encoder.chat.stop_id if encoder.chat else encoder.end_id)
    frame = f'TEMPLATE """{{{{ .Prompt }}}}{encoder.frame.separator}"""'
    lines = (
        f"FROM ./{weights}",
        *([] if encoder.chat else [frame]),
        *([f'PARAMETER stop "{end}"'] if end else []),
        f"PARAMETER num_ctx {encoder.context}",
        "PARAMETER temperature 0",
    )
    return "\n".join(lines) + "\n"


def served_template(encoder: Encoder) -> str:
    """The Jinja template for servers that speak in messages: a chat model's own, or the frame's."""
    return encoder.chat.template.source if encoder.chat else chat_template(encoder.frame)


def chat_template(frame: Frame) -> str:
    """A Jinja template for servers that speak in messages: earlier turns stand as worked examples do."""
    text = "message['content'] | trim"
    space = "' ' + " if frame.leading_space else ""
    return (
        "{% for message in messages %}"
        f"{{% if message['role'] == 'user' %}}{{{{ {text} + {_quoted(frame.separator)} }}}}"
        f"{{% elif message['role'] == 'assistant' %}}{{{{ {space}{text} + {_quoted(frame.delimiter)} }}}}"
        f"{{% else %}}{{{{ {text} + {_quoted(frame.delimiter)} }}}}{{% endif %}}"
        "{% endfor %}"
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
