"""What sources yield."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

MAX_ID_BYTES = 2000


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image's file, byte for byte, and what its header says."""

    item_id: str
    content: bytes
    format: str
    width: int
    height: int
    source: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """An image that was loaded from this source already, and was not read again."""

    item_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Item:
    """Metadata of an item; `categories`, `sales_rank` and `related` are never plain text."""

    item_id: str
    title: str | None = None
    brand: str | None = None
    price: Decimal | None = None
    image_url: str | None = None
    categories: dict | list | int | float | None = None
    sales_rank: dict | list | int | float | None = None
    related: dict | list | int | float | None = None
    description: str | None = None
    attributes: dict | None = None


@dataclass(frozen=True, slots=True)
class FeatureVector:
    """Features that were computed elsewhere: little-endian float32."""

    item_id: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class Reject:
    """What could not be read: where it is, whose it is if that is known, and what is wrong with it."""

    source: str
    item_id: str | None
    reason: str


def check_text(text: str) -> str | None:
    """Return why PostgreSQL cannot store a text, or None if it can."""
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    return None


def check_item_id(item_id: str) -> str | None:
    """Return why an item cannot have this id, or None if it can."""
    if not item_id:
        return "the item_id is empty"
    if reason := check_text(item_id):
        return f"the item_id {reason}"
    if (size := len(item_id.encode())) > MAX_ID_BYTES:
        return f"the item_id has {size:,} bytes, more than {MAX_ID_BYTES:,}"
    return None


def printable(text: str) -> str:
    """Write the bytes of a file name that are not UTF-8 as escapes, so that the name can be stored."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Label:
    """What an item is called in a label set."""

    item_id: str
    label_set: str
    label: str
    source: str


@dataclass(frozen=True, slots=True)
class Interaction:
    """A vote or another signal, with the fields of `pix.vote_batch`."""

    item_id: str
    vote: dict
    source: str
