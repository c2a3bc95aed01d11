"""Names and bodies that have broken servers before."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

_PLACES = (
    "etc/passwd",
    "etc/cron.d/x",
    "root/.ssh/authorized_keys",
    "service.db",
    "files/x",
    "models/x",
    "a",
    "x.jsonl",
)
_STEPS = (
    "../",
    "..\\",
    "..%2f",
    "..%5c",
    "%2e%2e/",
    "%2e%2e%2f",
    "..%252f",
    "....//",
    "..;/",
    "..%c0%af",
    "..%e0%80%af",
    "..\u2215",
    "..\uff0f",
    "\uff0e\uff0e/",
    "..\x00/",
    ".%00./",
    "./../",
    "/../",
    "\\..\\",
    "..//",
)
_BEGINNINGS = (
    "/",
    "//",
    "///",
    "\\\\server\\share\\",
    "C:\\",
    "C:",
    "c:/windows/",
    "\\\\?\\C:\\",
    "\\\\.\\",
    "file:///",
    "file://localhost/",
    "FILE:",
    "http://127.0.0.1/",
    "//evil.example/",
    "~/",
    "~root/",
    "$HOME/",
    "${HOME}/",
    "%HOME%/",
    "`id`/",
    "/proc/self/",
    "/dev/",
    "@/",
    "-",
    "--",
)
_DEVICES = (
    "CON",
    "PRN",
    "AUX",
    "NUL",
    "COM1",
    "LPT1",
    "nul.jsonl",
    "CONIN$",
    "con .jsonl",
    "aux.",
    "a:stream",
    "a::$DATA",
)
_UNICODE = (
    "\u202egpj.exe",
    "\u200b",
    "\ufeffa",
    "a\u0300\u0301" * 20,
    "\U0001f600.jsonl",
    "\u2028x",
    "\u0085",
    "\u00e9",
    "e\u0301",
    "\ufb01le",
    "\u212aelvin",
    "\u0130",
    "\u0131",
    "\u1e9e",
    "\U000e0041",
    "\ufffe",
    "\U0010ffff",
    "\u0660\u0661",
)
_SYNTAX = (
    "",
    ".",
    "..",
    "...",
    " ",
    "\t",
    "a b",
    "a\r\nSet-Cookie: x=1",
    "a\nb",
    "a\x00b.jsonl",
    "\x7f",
    "\x1b[31m",
    '"',
    "'",
    "a;b",
    "a#b",
    "a?b=c",
    "a%",
    "%",
    "%zz",
    "%00",
    "%0d%0a",
    "a%2fb",
    "a%5cb",
    "a&b",
    "a=b",
    "a|b",
    "a>b",
    "a<b",
    "a*",
    "a" * 255,
    "a" * 256,
    "a" * 4096,
    "/" * 300,
    "." * 300,
    ".partial-0",
    ".git/config",
    ".env",
    "__init__.py",
    "service.db-wal",
    "null",
    "None",
    "undefined",
    "NaN",
    "0",
    "-1",
    "9" * 30,
    "1e999",
    "true",
    "[]",
    "{}",
    "[object Object]",
)
COMMANDS = (
    "; id",
    "| id",
    "&& id",
    "$(id)",
    "`id`",
    "\n id",
    "; rm -rf /",
    "$(touch {place})",
    "`touch {place}`",
    "; touch {place} #",
    "| touch {place}",
    "-oProxyCommand=touch {place}",
    "--output={place}",
    "' ; touch {place} ; '",
)
SQL = (
    "'",
    "''",
    "' OR '1'='1",
    "' OR 1=1 --",
    '" OR ""="',
    "'; DROP TABLE files; --",
    "'; DELETE FROM keys; --",
    "1; SELECT pg_sleep(9)",
    "' UNION SELECT digest FROM keys --",
    "') OR ('1'='1",
    "\\'; --",
    "%' OR '%'='",
    "_",
    "%",
    "'||(SELECT digest FROM keys)||'",
    "admin'--",
    "0x27",
    "\u02bc OR 1=1",
    "'; ATTACH DATABASE '{place}' AS x; --",
    "' AND load_extension('x') --",
)
EXPRESSIONS = (
    "7*7",
    "config",
    "self",
    "request",
    "messages",
    "''.__class__.__mro__[1].__subclasses__()",
    "cycler.__init__.__globals__.os.popen('id').read()",
    "lipsum.__globals__['os'].popen('touch {place}').read()",
    "self._TemplateReference__context",
    "namespace.__init__.__globals__",
    "joiner.__init__.__globals__.os",
    "request.application.__globals__",
    "''|attr('__class__')",
    "[].__class__.__base__",
    "().__class__.__bases__[0]",
    "dict.__base__.__subclasses__()",
    "range(10**9)|list",
    "'a'*10**10",
    "raise_exception('x')",
    "strftime_now('%Y')",
)
_FORMS = (
    "{{ %s }}",
    "{{%s}}",
    "{%% print(%s) %%}",
    "{%% if %s %%}x{%% endif %%}",
    "${%s}",
    "#{%s}",
    "<%%= %s %%>",
    "{%s}",
    "%%(%s)s",
    "{{{%s}}}",
)


TEMPLATES = tuple(form % expression for form in _FORMS for expression in EXPRESSIONS)


def names() -> Iterator[str]:
    """No two alike, without end: those that are written down first, then mixtures of their parts."""
    steps = (step * depth + place for step in _STEPS for depth, place in zip((1, 3, 8, 2), _PLACES, strict=False))
    beginnings = (beginning + place for beginning in _BEGINNINGS for place in _PLACES[:4])
    written = dict.fromkeys((*_SYNTAX, *_DEVICES, *_UNICODE, *COMMANDS, *SQL, *steps, *beginnings))
    yield from written
    chance = random.Random(0)
    parts = [*_SYNTAX, *_DEVICES, *_UNICODE, *_STEPS, *_BEGINNINGS, *_PLACES, *SQL, *COMMANDS]
    while True:
        name = "".join(chance.choices(parts, k=chance.randint(2, 4)))
        if name not in written:
            written[name] = None
            yield name


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A request to /v1/files, to the byte."""

    body: bytes
    content_type: str = "multipart/form-data; boundary=b"
    headers: tuple[tuple[str, str], ...] = ()


def uploads(count: int) -> list[Upload]:
    """Forms that are broken, then bodies and names that are."""
    found = [*_broken_forms(), *(_upload(content=content) for content in _contents())]
    assert len(found) < count, len(found)
    return [*found, *(_upload(name=name) for name in islice(names(), count - len(found)))]


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """Each part is the value of its Content-Disposition, and what it holds."""
    heads = ((f"Content-Disposition: form-data; {head}".encode("utf-8", "surrogatepass"), body) for head, body in parts)
    return b"".join(b"--b\r\n" + head + b"\r\n\r\n" + body + b"\r\n" for head, body in heads) + end


def _upload(name: str = "a.jsonl", content: bytes = b"{}\n", **values: Any) -> Upload:
    purpose = ('name="purpose"', b"user_data")
    return Upload(body=form((f'name="file"; filename="{name}"', content), purpose), **values)


def _contents() -> Iterator[bytes]:
    yield b""
    yield b"\x00" * 1000
    yield b"a" * 2_000_000
    yield b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    yield b"[" * 100_000
    yield b"\xff\xfe\xfa\xc3\x28\xed\xa0\x80"
    yield b"\xef\xbb\xbf{}"
    yield gzip.compress(b"0" * 10_000_000)
    yield _zip({"../../etc/cron.d/x": b"x"})
    yield _zip({"a/b": b"0" * 1_000_000})
    yield pickle.dumps(_Opens())
    yield b"\x80\x04."
    yield b"GGUF\x03\x00\x00\x00" + b"\xff" * 16
    yield b"\xff" * 8 + b'{"__metadata__":{}}'
    yield b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    yield b"=cmd|' /C calc'!A0\n"
    yield b"--b"
    yield b"--b\r\n"
    yield b"\r\n--b-"
    yield b"\r\n--" * 20_000
    yield b"\r" * 20_000
    yield b"\n" * 20_000
    yield b"\r\n--b--\r\n" + b"more" * 100
    yield b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune'
    yield json.dumps({"messages": [{"role": "user", "content": [{"image_url": "http://169.254.169.254/"}]}]}).encode()


def _broken_forms() -> Iterator[Upload]:
    file, purpose = ('name="file"; filename="a.jsonl"', b"{}"), ('name="purpose"', b"user_data")
    yield Upload(body=b"")
    yield Upload(body=b"--b--\r\n")
    yield Upload(body=b"--b")
    yield Upload(body=form(file, purpose, end=b""))
    yield Upload(body=form(file, purpose)[:-40])
    yield Upload(body=form(purpose, file))
    yield Upload(body=form(file))
    yield Upload(body=form(purpose))
    yield Upload(body=form(file, file, purpose))
    yield Upload(body=form(purpose, purpose, file))
    yield Upload(body=form(*[purpose] * 5000, file))
    yield Upload(body=form(*[(f'name="{number}"', b"x") for number in range(5000)], file))
    yield Upload(body=form(('name="purpose"', b"p" * 1_000_000), file))
    yield Upload(body=form((f'name="{"n" * 10_000}"', b"x"), file, purpose))
    yield Upload(body=form(('name=""', b"x"), file, purpose))
    yield Upload(body=form(("", b"x"), file, purpose))
    yield Upload(body=form(('name="other"; filename="b"', b"x"), file, purpose))
    yield Upload(body=form(("name=\"file\"; filename*=UTF-8''..%2f..%2fetc%2fpasswd", b"x"), purpose))
    yield Upload(body=form(('name="file"; filename="a"; filename="../b"', b"x"), purpose))
    yield Upload(body=form(('name="file"; filename="a\\"; name="purpose"', b"x"), purpose))
    yield Upload(body=form(('name="file"; filename=', b"x"), purpose))
    yield Upload(body=form(("name=file; filename=../../x", b"x"), purpose))
    yield Upload(body=form(('name="file"; filename="\ud800"', b"x"), purpose))
    yield Upload(body=b"--b\r\n" + b"X: y\r\n" * 5000 + b"\r\n\r\n" + form(file, purpose))
    yield Upload(body=b"--b\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n\r\n" + form(file, purpose))
    yield Upload(body=b"--b\r\n: y\r\n\r\nx\r\n" + form(file, purpose))
    yield Upload(body=b'--b\nContent-Disposition: form-data; name="file"\n\nx\n--b--\n')
    yield Upload(body=b"preamble\r\n" + form(file, purpose) + b"epilogue")
    yield Upload(body=form(file, ('name="purpose"', b"../../x")))
    yield Upload(body=form(file, ('name="purpose"', b"fine-tune-results")))
    yield Upload(body=form(file, ('name="purpose"', b"\xff\x00")))
    for seconds in (b"", b"-1", b"1e9", b"9" * 5000, "\u0663\u0666\u0660\u0660".encode(), b"NaN", b"\x00"):
        anchor = ('name="expires_after[anchor]"', b"created_at")
        yield Upload(body=form(file, purpose, anchor, ('name="expires_after[seconds]"', seconds)))
    for kind in _CONTENT_TYPES:
        yield Upload(body=form(file, purpose), content_type=kind)
    for length in ("0", "1", "-1", "abc", "9" * 30, "1e3", "0x10", "+5", " 5", "\u00b2"):
        yield Upload(body=form(file, purpose), headers=(("content-length", length),))
    for coding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "x"):
        yield Upload(body=gzip.compress(form(file, purpose)), headers=(("content-encoding", coding),))


_CONTENT_TYPES = (
    "",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=c",
    f"multipart/form-data; boundary={'b' * 5000}",
    "multipart/form-data; boundary=b; boundary=c",
    'multipart/form-data; boundary="b',
    "multipart/form-data; boundary=\u00e9",
    "multipart/mixed; boundary=b",
    "multipart/; boundary=b",
    "MULTIPART/FORM-DATA; BOUNDARY=b",
    "application/x-www-form-urlencoded",
    "application/json",
    "application/octet-stream",
    "text/plain",
    "application/gzip",
)


def _zip(members: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writing:
        for name, content in members.items():
            writing.writestr(name, content)
    return archive.getvalue()


class _Opens:
    """Were it ever unpickled, the test would end."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exit, (1,)
