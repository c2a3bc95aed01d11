"""A base's weights as they lie on disk, read and written one tensor at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fewtune.errors import BaseModelError, from_os_error

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its JSON header."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a safetensors header says of a tensor, besides its place."""

    dtype: str
    """As safetensors writes it: F32, F16, BF16, ..."""
    sizes: tuple[int, ...]
    bytes: int

    @property
    def is_float(self) -> bool:
        return self.dtype in _DTYPES


@dataclass(frozen=True, kw_only=True)
class _Place:
    file: Path
    shape: Shape
    begin: int


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """Every tensor of a base's folder, in one file or in several."""

    folder: Path
    places: Mapping[str, _Place]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.places)

    @property
    def files(self) -> Mapping[Path, tuple[str, ...]]:
        """Each file with its tensors, in the order in which they lie there."""
        found: dict[Path, list[str]] = {}
        for name, place in sorted(self.places.items(), key=lambda one: one[1].begin):
            found.setdefault(place.file, []).append(name)
        return {file: tuple(found[file]) for file in sorted(found)}

    def shape(self, name: str) -> Shape:
        return self.places[name].shape

    def content(self, name: str) -> bytes:
        """The tensor's bytes as they are."""
        place = self.places[name]
        try:
            with place.file.open("rb") as opened:
                opened.seek(place.begin)
                return opened.read(place.shape.bytes)
        except OSError as error:
            raise from_os_error(error, "read the base's weights", place.file) from error

    def read(self, name: str) -> Tensor:
        """In its own type; raises BaseModelError for one that is not a plain floating-point number."""
        place = self.places[name]
        dtype = _DTYPES.get(place.shape.dtype)
        if dtype is None:
            raise BaseModelError(
                f"The base's tensor {name} is stored as {place.shape.dtype}: quantised bases cannot be merged.",
                where=str(place.file),
                fix="Tune the base's full-precision weights instead.",
            )
        if 0 in place.shape.sizes:
            return torch.empty(place.shape.sizes, dtype=dtype)
        return torch.frombuffer(bytearray(self.content(name)), dtype=dtype).view(place.shape.sizes)


def open_weights(folder: Path) -> StoredWeights:
    """Raises BaseModelError for weights that are pickled, damaged or incomplete."""
    places: dict[str, _Place] = {}
    for file in _files(folder):
        places |= _places(file)
    return StoredWeights(folder=folder, places=places)


def _files(folder: Path) -> list[Path]:
    """The files that transformers would read: other safetensors may lie beside them."""
    if (folder / WHOLE).exists():
        return [folder / WHOLE]
    try:
        named = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except FileNotFoundError as error:
        raise BaseModelError(
            f"The base has neither {WHOLE} nor {INDEX}; pickled weights are not read.",
            where=str(folder),
            fix="Convert the weights to safetensors first.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseModelError("The index of the base's weights cannot be read.", where=str(folder / INDEX)) from error
    lost = sorted(str(name) for name in named if Path(str(name)).name != name or not (folder / str(name)).is_file())
    if lost:
        raise BaseModelError(f"The index names {lost[0]!r}, which is not in the folder.", where=str(folder / INDEX))
    return sorted(folder / str(name) for name in named)


def _places(file: Path) -> dict[str, _Place]:
    try:
        # The library's own reader proves that the header is sound and the file as long as it says.
        with safe_open(file, framework="pt"):
            pass
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
            header: dict[str, Any] = json.loads(opened.read(length))
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseModelError(f"The base's weights cannot be read: {error}.", where=str(file)) from error
    data = _LENGTH_BYTES + length
    return {
        name: _Place(
            file=file,
            shape=Shape(dtype=entry["dtype"], sizes=tuple(entry["shape"]), bytes=end - begin),
            begin=data + begin,
        )
        for name, entry in header.items()
        if name != "__metadata__"
        for begin, end in (entry["data_offsets"],)
    }


def shape_as(shape: Shape, dtype: torch.dtype) -> Shape:
    """The shape of the same tensor in another type."""
    return Shape(dtype=_NAMES[dtype], sizes=shape.sizes, bytes=math.prod(shape.sizes) * dtype.itemsize)


def rounded(tensor: Tensor, shape: Shape) -> Tensor:
    """The tensor in the type of that shape, which must be a floating-point one."""
    return tensor.to(_DTYPES[shape.dtype])


def content_of(tensor: Tensor) -> bytes:
    """The tensor's numbers as safetensors lays them down."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def write_weights(file: Path, shapes: Mapping[str, Shape], content: Callable[[str], bytes]) -> None:
    """Write a safetensors file without ever holding more than one tensor.

    Not safetensors' own writing, which wants all tensors at once and hides a full disk from us. Raises OSError.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, shape in shapes.items():
        end = begin + shape.bytes
        header[name] = {"dtype": shape.dtype, "shape": list(shape.sizes), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for name in shapes:
            opened.write(content(name))
