"""The parts of an XLSX package that a first sheet needs: the sheet itself, its texts and its date formats."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO
from xml.etree.ElementTree import Element, fromstring, iterparse
from zipfile import ZipFile

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_CONTENT = "{http://schemas.openxmlformats.org/package/2006/content-types}"
_RELATION = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_RELATION_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_TEXTS_KIND = "spreadsheetml.sharedStrings+xml"
_WORKBOOK_KIND = re.compile(r"spreadsheetml\.(sheet|template)\.main\+xml|macroEnabled\.main\+xml")
_STYLES_PART = "xl/styles.xml"
_BUILT_IN_DATES = frozenset((*range(14, 23), 45, 46, 47))
_BUILT_IN_DURATION = 46
_NO_PLACEHOLDERS = re.compile(r'".*?"|\[(?!hh?\]|mm?\]|ss?\])[^\]]*\]')
_DATE_LETTER = re.compile(r"(?<![_\\])[dmhys]", re.IGNORECASE)
_DURATION = re.compile(r"\[(hh?|mm?|ss?)\]", re.IGNORECASE)
_MOST_BYTES = 1 << 29
_SMALL_BYTES = 1 << 24
_MOST_TIMES_COMPRESSED = 100


@dataclass(frozen=True, kw_only=True)
class Package:
    """The first sheet's rows and what their cells refer to."""

    rows: Iterator[Element]
    """`row` elements, read as they are asked for."""
    texts: Sequence[str]
    dates: frozenset[int]
    """Numbers of the cell styles that show a date or a time."""
    durations: frozenset[int]
    since_1904: bool


class PackageError(ValueError):
    """The file is no workbook that the old tool could read."""


def open_package(archive: ZipFile) -> Package:
    """Find the first sheet, by the order of the tabs; raises PackageError, or what zipfile and the parser raise."""
    book = _part_of_kind(archive, _WORKBOOK_KIND) or "xl/workbook.xml"
    root = _root(archive, book)
    properties = root.find(f"{MAIN}workbookPr")
    dates, durations = _date_styles(archive)
    return Package(
        rows=_elements(_opened(archive, _first_sheet(archive, book, root)), f"{MAIN}row"),
        texts=_texts(archive),
        dates=dates,
        durations=durations,
        since_1904=properties is not None and properties.get("date1904") in ("1", "true"),
    )


def text_of(element: Element) -> str:
    """The text of a shared or inline string: plain, or runs in several fonts, without the phonetic help."""
    plain = [element.findtext(f"{MAIN}t") or ""]
    return "".join(plain + [run.findtext(f"{MAIN}t") or "" for run in element.findall(f"{MAIN}r")])


def _opened(archive: ZipFile, name: str) -> IO[bytes]:
    part = archive.getinfo(name)
    if part.file_size > _MOST_BYTES or part.file_size > max(_SMALL_BYTES, _MOST_TIMES_COMPRESSED * part.compress_size):
        raise PackageError(f"its part {name} unpacks to {part.file_size:,} bytes")
    return archive.open(name)


def _root(archive: ZipFile, name: str) -> Element:
    with _opened(archive, name) as part:
        return fromstring(part.read())


def _elements(part: IO[bytes], tag: str) -> Iterator[Element]:
    with part:
        for _, element in iterparse(part):
            if element.tag == tag:
                yield element
                element.clear()


def _part_of_kind(archive: ZipFile, kind: re.Pattern[str]) -> str | None:
    for part in _root(archive, "[Content_Types].xml").iter(f"{_CONTENT}Override"):
        if kind.search(part.get("ContentType", "")):
            return part.get("PartName", "").removeprefix("/")
    return None


def _first_sheet(archive: ZipFile, book: str, root: Element) -> str:
    folder, name = posixpath.split(book)
    targets = {
        relation.get("Id"): relation
        for relation in _root(archive, posixpath.join(folder, "_rels", f"{name}.rels")).iter(f"{_RELATION}Relationship")
    }
    parts = archive.namelist()
    for sheet in root.iter(f"{MAIN}sheet"):
        relation = targets.get(sheet.get(_RELATION_ID))
        if relation is None or "chartsheet" in relation.get("Type", ""):
            continue
        target = relation.get("Target", "")
        inside = target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
        if inside in parts:
            return inside
    raise PackageError("it has no sheet")


def _texts(archive: ZipFile) -> list[str]:
    name = _part_of_kind(archive, re.compile(re.escape(_TEXTS_KIND)))
    if name is None:
        return []
    # openpyxl takes out this half of an escape that Excel writes for an underscore.
    return [text_of(item).replace("x005F_", "") for item in _elements(_opened(archive, name), f"{MAIN}si")]


def _date_styles(archive: ZipFile) -> tuple[frozenset[int], frozenset[int]]:
    if _STYLES_PART not in archive.namelist():
        return frozenset(), frozenset()
    root = _root(archive, _STYLES_PART)
    codes = {item.get("numFmtId"): item.get("formatCode", "") for item in root.iter(f"{MAIN}numFmt")}
    formats = root.find(f"{MAIN}cellXfs")
    numbers = [item.get("numFmtId", "0") for item in (() if formats is None else formats)]
    dates = {style for style, number in enumerate(numbers) if _shows(number, codes, _is_date, _BUILT_IN_DATES)}
    durations = {s for s, number in enumerate(numbers) if _shows(number, codes, _is_duration, {_BUILT_IN_DURATION})}
    return frozenset(dates), frozenset(durations)


def _shows(
    number: str, codes: Mapping[str | None, str], shows: Callable[[str], bool], built_in: Collection[int]
) -> bool:
    return shows(codes[number].split(";")[0]) if number in codes else int(number) in built_in


def _is_date(code: str) -> bool:
    return bool(_DATE_LETTER.search(_NO_PLACEHOLDERS.sub("", code)))


def _is_duration(code: str) -> bool:
    return bool(_DURATION.search(code))
