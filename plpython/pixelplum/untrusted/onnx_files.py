"""ONNX files: all their weights within, checked before ONNX Runtime sees them.

A tensor may say that its numbers are in another file: of the server, as it happens. To import `onnx` for finding out
takes a new connection a seventh of a second; the few fields that say so are read here.
"""

from __future__ import annotations

from collections.abc import Iterator

from pixelplum.errors import ModelBroken, ModelUnsafe

ORT_FORMAT = b"ORTM"
"""What is at byte 4 of a network in ONNX Runtime's own format, which is not read here."""

PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
"""Kinds of messages, and which of their fields hold messages where a tensor can be: onnx.proto."""

NAME, EXTERNAL_DATA, DATA_LOCATION = 8, 13, 14
VARINT, EIGHT_BYTES, MESSAGE, FOUR_BYTES = 0, 1, 2, 5


def check(content: bytes) -> None:
    """Refuse a file that names other files.

    Parameters
    ----------
    content : bytes
        The ONNX file.

    Raises
    ------
    ModelUnsafe
        If a tensor's numbers are elsewhere.
    ModelBroken
        If it is not an ONNX file.
    """
    for name, location in external(content):
        raise ModelUnsafe(
            f"The ONNX file keeps the tensor {name!r} in another file, {location!r}",
            hint="Save it again with its weights inside: onnx.save(onnx.load(path), new_path).",
        )


def external(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the tensors whose numbers are elsewhere, and the files they name.

    Raises
    ------
    ModelBroken
        If it is not an ONNX file.
    """
    if content[4:8] == ORT_FORMAT:
        raise ModelBroken("The model cannot be loaded: it is in ONNX Runtime's own format")
    ahead = [("model", memoryview(content))]
    while ahead:
        kind, message = ahead.pop()
        name, locations, is_elsewhere = "", [], False
        for number, value in _fields(message):
            part = PARTS[kind].get(number)
            if isinstance(value, int):
                is_elsewhere |= kind == "tensor" and number == DATA_LOCATION and value != 0
            elif part == "entry":
                locations.append(_location(value))
            elif part is not None:
                ahead.append((part, value))
            elif kind == "tensor" and number == NAME:
                name = bytes(value).decode(errors="replace")
        if is_elsewhere or locations:
            yield name, next((location for location in locations if location), "")


def _location(entry: memoryview) -> str:
    """Return what an entry of external_data says of the place; nothing, if it says something else."""
    fields = {number: bytes(value) for number, value in _fields(entry) if not isinstance(value, int)}
    return fields.get(2, b"").decode(errors="replace") if fields.get(1) == b"location" else ""


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the numbers of a message's fields and their values: integers, or bytes."""
    offset, end = 0, len(message)
    while offset < end:
        key, offset = _integer(message, offset)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, offset = _integer(message, offset)
            yield number, value
            continue
        if kind == MESSAGE:
            length, offset = _integer(message, offset)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            length = 8 if kind == EIGHT_BYTES else 4
        else:
            raise ModelBroken("The model cannot be loaded: it is not an ONNX file")
        if offset + length > end:
            raise ModelBroken("The model cannot be loaded: it is not an ONNX file, or truncated")
        if kind == MESSAGE:
            yield number, message[offset : offset + length]
        offset += length


def _integer(message: memoryview, offset: int) -> tuple[int, int]:
    value = shift = 0
    while offset < len(message) and shift < 70:
        byte = message[offset]
        value |= (byte & 0x7F) << shift
        offset, shift = offset + 1, shift + 7
        if byte < 0x80:
            return value, offset
    raise ModelBroken("The model cannot be loaded: it is not an ONNX file, or truncated")
