"""Files of prompts and completions as people had them in 2022, drawn at random: all formats, all kinds of flaw."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from pathlib import Path
from typing import Any

from openpyxl import Workbook

Flaw = Callable[[list[list[str]], random.Random], None]
_WORDS = ("harbour", "lantern", "quiet", "seven", "market", "violet", "kettle", "bridge", "cold", "summer", "ticket")
_LABELS = ("refund", "delivery", "other", "billing question")
_MISSING = ("NA", "null", "N/A", "nan", "None", "NULL", "#N/A", "-NaN", "<NA>", "")
_ODD = (
    'say "well"', "two\nlines", "back\\slash", "a/b", "tab\there", "é ü ß İ", "日本語", "🙂👍🏽", "  led", "trailing  ",
    "comma, comma", "\u00a0", "\u2028", "zero\u200b", "\x7f", "\x01\x1f", "'", '"', '""', "=1+1", "1.50", "007", "True",
    "12", "1e5", "a\r\nb", "ſt", "ΑΣ", "<b>&amp;</b>", "e\u0301", "-", "\x00mid", "#", "\x0b\x0c", "{}", "[1]",
)  # fmt: skip
_MARKS = (" ->", "\n\n###\n\n", "\n\n===\n\n", "\n\n---\n\n", "\n\n===>\n\n", "\n\n--->\n\n")
_ENDS = ("\n", ".", " END", "***", "+++", "&&&", "$$$", "@@@", "%%%")


@dataclass
class Rows:
    """A table before it becomes a file."""

    columns: list[str]
    cells: list[list[Any]]
    """By row, as many as there are columns."""
    random: random.Random = field(repr=False)


def make_files(folder: Path, count: int, seed: int) -> list[Path]:
    """Write that many files, each into a folder of its own, some beside an older output."""
    formats = list(_FORMATS)
    paths: list[Path] = []
    for number in range(count):
        drawn = random.Random(f"{seed} {number}")
        ending = formats[number % len(formats)]
        home = folder / f"{number:05d}"
        home.mkdir()
        path = home / f"{drawn.choice(['rows', 'my.data', 'ROWS x'])}{ending}"
        path.write_bytes(_FORMATS[ending](_rows(drawn)))
        if drawn.random() < 0.1:
            for part in ("_prepared", "_prepared_train"):
                path.with_name(f"{path.stem}{part}.jsonl").write_bytes(b"older\n")
        paths.append(path)
    return paths


def _rows(drawn: random.Random) -> Rows:
    task = drawn.choices(["conditional", "classification", "open-ended"], [5, 4, 2])[0]
    size = drawn.choice([1, 2, 5, 12, 30, 40, 104, 130])
    pairs = [list(_pair(drawn, task)) for _ in range(size)]
    if drawn.random() < 0.1:
        return Rows(columns=["prompt", "completion"], cells=[[f"{p} ->", f" {c} END"] for p, c in pairs], random=drawn)
    for flaw, chance in _FLAWS:
        if drawn.random() < chance:
            flaw(pairs, drawn)
    columns, cells = ["prompt", "completion"], [list(pair) for pair in pairs]
    if drawn.random() < 0.2:
        columns = drawn.choice([["Prompt", "completion"], ["PROMPT", "Completion"], ["prompt", "COMPLETION"]])
    if drawn.random() < 0.04:
        columns = drawn.choice([["prompts", "completion"], ["prompt", "answer"], ["", "completion"], ["prompt"] * 2])
    rows = Rows(columns=list(columns), cells=cells, random=drawn)
    if drawn.random() < 0.3:
        _add_columns(rows)
    return rows


def _pair(drawn: random.Random, task: str) -> tuple[str, str]:
    prompt = "" if task == "open-ended" else _sentence(drawn)
    return prompt, drawn.choice(_LABELS) if task == "classification" else _sentence(drawn)


def _sentence(drawn: random.Random) -> str:
    return " ".join(drawn.choices(_WORDS, k=drawn.randint(1, 8)))


def _add_columns(rows: Rows) -> None:
    for name in rows.random.sample(["id", "Prompt", "prompt", "note", "", "date", "completion ", "index", "Note"], 2):
        place = rows.random.randint(0, len(rows.columns))
        rows.columns.insert(place, name)
        for number, row in enumerate(rows.cells):
            row.insert(place, rows.random.choice([str(number), "", "x, y", "2022-11-02"]))


def _put_around(place: int, before: Sequence[str], after: Sequence[str]) -> Flaw:
    def flaw(pairs: list[list[str]], drawn: random.Random) -> None:
        prefix, suffix = drawn.choice(before), drawn.choice(after)
        for pair in pairs:
            pair[place] = prefix + pair[place] + suffix

    return flaw


def _among_many(flaw: Flaw) -> Flaw:
    """The old tool compares texts letter by letter: where all are long it takes minutes."""
    return lambda pairs, drawn: flaw(pairs, drawn) if len(pairs) > 10 else None


def _some(change: Callable[[list[str], random.Random], None]) -> Flaw:
    def flaw(pairs: list[list[str]], drawn: random.Random) -> None:
        for pair in drawn.sample(pairs, drawn.randint(1, max(1, len(pairs) // 3))):
            change(pair, drawn)

    return flaw


def _odd(pair: list[str], drawn: random.Random) -> None:
    place = drawn.randrange(2)
    pair[place] = drawn.choice([drawn.choice(_ODD), pair[place] + drawn.choice(_ODD), drawn.choice(_ODD) + pair[place]])


def _missing(pair: list[str], drawn: random.Random) -> None:
    pair[drawn.randrange(2)] = drawn.choice(_MISSING)


def _empty(pair: list[str], _drawn: random.Random) -> None:
    pair[1] = ""


def _long(pair: list[str], drawn: random.Random) -> None:
    place = drawn.randrange(2)
    pair[place] = (pair[place] + " far ") * 1500


def _mark(pair: list[str], drawn: random.Random) -> None:
    pair[0] += drawn.choice(_MARKS) + "on"
    pair[1] += drawn.choice(_ENDS) + "on"


def _repeat(pairs: list[list[str]], drawn: random.Random) -> None:
    for pair in drawn.choices(pairs, k=min(5, len(pairs))):
        pairs.insert(drawn.randint(0, len(pairs)), list(pair))


def _all_marks(pairs: list[list[str]], drawn: random.Random) -> None:
    for pair in drawn.sample(pairs, 1):
        pair[0] += "".join(drawn.sample(_MARKS, drawn.randint(1, 6))) + "x"
        pair[1] += "".join(drawn.sample(_ENDS, drawn.randint(1, 9))) + "x"


def _upper(place: int, share: float) -> Flaw:
    def flaw(pairs: list[list[str]], drawn: random.Random) -> None:
        for pair in pairs:
            if drawn.random() < share:
                pair[place] = pair[place].upper()

    return flaw


def _same(place: int) -> Flaw:
    def flaw(pairs: list[list[str]], _drawn: random.Random) -> None:
        for pair in pairs:
            pair[place] = pairs[0][place]

    return flaw


_PROMPT_STARTS = ("Tell: ", "Write an episode about ", "", "\n")
_PROMPT_ENDS = (" ->", "?", "\n\n###\n\n", " and so on, please:", "", "aa")
_FLAWS: tuple[tuple[Flaw, float], ...] = (
    (_some(_odd), 0.5),
    (_repeat, 0.2),
    (_among_many(_some(_long)), 0.12),
    (_some(_mark), 0.1),
    (_all_marks, 0.25),
    (_upper(0, 1.0), 0.1),
    (_upper(1, 1.0), 0.1),
    (_upper(0, 0.4), 0.1),
    (_upper(1, 0.4), 0.1),
    (_put_around(0, _PROMPT_STARTS, ("",)), 0.25),
    (_put_around(0, ("",), _PROMPT_ENDS), 0.3),
    (_put_around(1, ("Sure: ", " The answer is ", " ", "", "abcd"), ("",)), 0.3),
    (_put_around(1, ("",), (" END", ".", "\n", " and that was the end", "aa")), 0.3),
    (_put_around(1, (" ",), ("",)), 0.2),
    (_same(0), 0.02),
    (_same(1), 0.02),
    (_some(_empty), 0.15),
    (_some(_missing), 0.2),
)


def _table(delimiter: str) -> Callable[[Rows], bytes]:
    def file(rows: Rows) -> bytes:
        drawn, out = rows.random, io.StringIO(newline="")
        ends = drawn.choices(["\n", "\r\n", "\r"], [6, 3, 1])[0]
        quoting = drawn.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        writer = csv.writer(out, delimiter=delimiter, lineterminator=ends, quoting=quoting)
        writer.writerow(rows.columns)
        records = [_ragged(row, drawn) if drawn.random() < 0.1 else row for row in rows.cells]
        writer.writerows(records)
        return _damaged(out.getvalue(), delimiter, ends, drawn)

    return file


def _ragged(row: list[str], drawn: random.Random) -> list[str]:
    if drawn.random() < 0.03:
        return [*row, "more"]
    return row[: drawn.randint(1, len(row))]


def _damaged(text: str, delimiter: str, ends: str, drawn: random.Random) -> bytes:
    lines = text.split(ends)
    header, rest = lines[0], lines[1:]
    if drawn.random() < 0.15:
        for _ in range(3):
            rest.insert(drawn.randint(0, len(rest)), drawn.choice(["", "  ", " \t", '""', '"  "', delimiter, " x"]))
    if drawn.random() < 0.06:
        first, *others = rest
        labelled = [f"{number}{delimiter}{line}" if line else line for number, line in enumerate(others)]
        rest = [f"{drawn.choice(['7', 'k', 'NA'])}{delimiter}{first}", *labelled]
    if drawn.random() < 0.05:
        rest.append(drawn.choice(['"open', '"a"b,c', 'a"b"c,d', '"a""b', '"a" "b",c', "x" * 140_000 + f"{delimiter}y"]))
    text = ends.join([header, *rest])
    if drawn.random() < 0.2:
        text = text.rstrip("\r\n")
    data = text.encode()
    if drawn.random() < 0.15:
        data = b"\xef\xbb\xbf" + data
    if drawn.random() < 0.02:
        data = drawn.choice([data + b"\xff", b"", b"\n\n", header.encode(), text.encode("utf-16")])
    return data


def _json_value(text: str, drawn: random.Random, kind: str) -> Any:
    if kind == "mixed" and drawn.random() < 0.3:
        return drawn.choice([5, 1.5, True, None, ["a", 1, None, 2.50], {"k": ["v", False]}, 1e300, 2**63, -3, ""])
    if kind == "integers":
        return drawn.randint(0, 5)
    if kind == "gappy":
        return drawn.choice([1, 2, None])
    if kind == "numbers":
        return drawn.choice([0.1, 3, 2.675, 1e22, 123456789.123456789, 5e-324])
    if kind == "truths":
        return drawn.choice([True, False])
    if kind == "doubts":
        return drawn.choice([True, False, None])
    return text


def _objects(rows: Rows) -> list[dict[str, Any]]:
    drawn = rows.random
    kinds = [*["text"] * 6, "mixed", "integers", "gappy", "numbers", "truths", "doubts"]
    kind = {name: drawn.choice(kinds) for name in rows.columns}
    objects = [
        {name: _json_value(cell, drawn, kind[name]) for name, cell in zip(rows.columns, row, strict=True)}
        for row in rows.cells
    ]
    if drawn.random() < 0.15:
        for value in drawn.sample(objects, max(1, len(objects) // 4)):
            value.pop(drawn.choice(rows.columns), None)
    return objects


def _lines(rows: Rows) -> bytes:
    drawn = rows.random
    plain = drawn.random() < 0.5
    lines = [json.dumps(value, ensure_ascii=plain) for value in _objects(rows)]
    if drawn.random() < 0.15:
        lines.insert(drawn.randint(0, len(lines)), drawn.choice(["", "  ", "\t"]))
    if drawn.random() < 0.25:
        place = drawn.randrange(len(lines))
        lines[place] = _lenient(lines[place], drawn)
    text = drawn.choice(["\n", "\n", "\r\n"]).join(lines) + drawn.choice(["", "\n"])
    return (b"\xef\xbb\xbf" if drawn.random() < 0.03 else b"") + text.encode()


def _lenient(line: str, drawn: random.Random) -> str:
    inside = line.rstrip().removesuffix("}")
    endings = [
        ",}", ',"more": 01}', ',"more": 1.}', ',"more": -}', ',"more": 2e}', ',"more": NaN}', ',"more": -Infinity}',
        ',"more": -NaN}',
        ',"completion": "\\ud83dx\\ude00"}', ',"completion": "lost \\ud83d"}', ',"prompt": "\\udc00"}',
        ',"prompt": "a\\/b"}', ',"prompt": 12345678901234567890}', ',"prompt": 1234567890123456789012}',
        ',"prompt": 0.30000000000000004}', ',"prompt": 1E400}', ',"prompt": "\\x"}', ',"more": [1,]}', ",,}", ']',
        ',"prompt": "raw\tcontrol"}', ',"prompt": -9223372036854775809}', ',"more": .5}', "",
        ',"prompt": 123.456e-7}',
        ',"completion": "\\ud83d\\ude00 and \\u00e9"}', 
        ',"completion": "\\u0000x"}', ',"prompt": 99999999999999999999.5}',
    ]  # fmt: skip
    return inside + drawn.choice(endings)


def _json(rows: Rows) -> bytes:
    drawn, objects = rows.random, _objects(rows)
    shape = drawn.choices(["list", "compact", "columns", "labelled", "lines", "one", "broken"], [6, 1, 2, 3, 2, 1, 1])[
        0
    ]
    if shape == "list":
        text = json.dumps(objects, indent=drawn.choice([0, 2]), ensure_ascii=False)
    elif shape == "compact":
        text = json.dumps(objects)
    elif shape in ("columns", "labelled"):
        text = json.dumps(_by_column(rows, objects, shape), indent=1)
    elif shape == "one":
        text = json.dumps(drawn.choice([objects[0], 5, "x", None, [], [[1, 2]], {}, [1, 2]]), indent=1)
    elif shape == "lines":
        text = "\n".join(map(json.dumps, objects))
    else:
        text = json.dumps(objects, indent=1)[: drawn.randint(1, 40)]
    return text.encode()


def _by_column(rows: Rows, objects: list[dict[str, Any]], shape: str) -> dict[str, Any]:
    drawn = rows.random
    names = list(dict.fromkeys(rows.columns))
    columns: dict[str, Any] = {name: [value.get(name) for value in objects] for name in names}
    if shape == "labelled":
        keys = drawn.choice([range(len(objects)), range(5, 5 + len(objects)), [f"r{n}" for n in range(len(objects))]])
        columns = {name: dict(zip(map(str, keys), column, strict=True)) for name, column in columns.items()}
        if drawn.random() < 0.3:
            columns[names[0]].popitem()
    if drawn.random() < 0.15:
        columns[names[-1]] = drawn.choice(["same", 5, None, ["short"], 1.5, True])
    return columns


def _text(rows: Rows) -> bytes:
    drawn = rows.random
    ends = drawn.choice(["\n", "\n", "\r\n", "\r"])
    text = ends.join(str(row[1]) for row in rows.cells) + drawn.choice(["", ends])
    return (b"\xef\xbb\xbf" if drawn.random() < 0.1 else b"") + text.encode()


def _workbook(rows: Rows) -> bytes:
    drawn, book, out = rows.random, Workbook(), io.BytesIO()
    sheet = book.active
    assert sheet is not None
    header: list[Any] = [name or None for name in rows.columns]
    if drawn.random() < 0.05:
        header[drawn.randrange(len(header))] = drawn.choice([5, 2.5, True, datetime(2022, 11, 2)])
    sheet.append(header)
    odd = drawn.random() < 0.4
    for row in rows.cells:
        sheet.append([_workbook_cell(cell, drawn, odd) for cell in row])
        if drawn.random() < 0.02:
            sheet.append([])
    if drawn.random() < 0.2:
        book.create_sheet("more").append(["prompt", "completion"])
    if drawn.random() < 0.1:
        sheet.insert_rows(drawn.randint(1, 3))
    if drawn.random() < 0.1:
        sheet.merge_cells(start_row=2, end_row=min(4, len(rows.cells) + 1), start_column=1, end_column=1)
    book.save(out)
    return out.getvalue()


def _workbook_cell(cell: Any, drawn: random.Random, odd: bool) -> Any:
    if odd and drawn.random() < 0.2:
        values = [5, 1.5, 2.0, True, False, None, datetime(2022, 11, 2, 10, 30), datetime(2022, 11, 2), 1e20, -0.25]
        values += ["#N/A", time(9, 5), 0.1, 123456789012, 1 / 3, "_x0041_", "a_x000D_b", 1e-7]
        return drawn.choice(values)
    return "".join(letter for letter in str(cell) if letter >= " " or letter in "\t\n\r") or None


_FORMATS: dict[str, Callable[[Rows], bytes]] = {
    ".csv": _table(","),
    ".jsonl": _lines,
    ".tsv": _table("\t"),
    ".json": _json,
    ".CSV": _table(","),
    ".xlsx": _workbook,
    ".txt": _text,
}
