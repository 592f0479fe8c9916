"""Metadata of items: the Amazon data of McAuley et al., other JSON lines, and CSV."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

from pixload.sources.records import parse_literal, read_records
from pixload.sources.rows import Item, Reject, check_item_id, check_text

ID_NAMES = ("item_id", "asin", "id")
IMAGE_NAMES = ("imUrl", "image_url", "imageURL", "imageURLHighRes")
STRUCTURED_NAMES = {
    "categories": ("categories", "category"),
    "sales_rank": ("salesRank", "sales_rank", "rank"),
    "related": ("related",),
}
NOTHING = ("", "nan", "NaN")
NEVER_ESCAPED = re.compile("[a-z0-9 .,-]+")

PRICE = re.compile(r"\$?\s*([0-9]{1,3}(?:,[0-9]{3}){1,4}(?:\.[0-9]{1,9})?|[0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})")
PRICES_END = Decimal(10**10)  # of numeric(12, 2)
LOST_COMMA = re.compile(r"""\](?=(['"])\w+\1\s*:)""")


def read_metadata(
    path: Path, title_word: str | None = None, on_bytes: Callable[[int], None] | None = None
) -> Iterator[Item | Reject]:
    """Read the items of a file of JSON objects or Python dicts, one a line, or of CSV with a header.

    The file may be compressed. Fields that have no column of their own are
    kept as attributes.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    title_word : str, optional
        Leave out the items whose title does not contain this, in whatever
        case.
    on_bytes : callable, optional
        Told now and then how many bytes of the file, compressed as it is,
        were consumed since the last call.

    Yields
    ------
    Item or Reject

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    word = (title_word or "").lower()
    # Nobody writes such a word with escapes or entities: a line without it need not be parsed, which is slow.
    needle = word.encode() if NEVER_ESCAPED.fullmatch(word) else None
    for record in read_records(path, needle, on_bytes):
        if isinstance(record, Reject):
            yield record
        elif not word or word in html.unescape(str(record.fields.get("title") or "")).lower():
            yield _item(record.source, record.fields)


def _item(source: str, fields: dict) -> Item | Reject:
    item_id = None
    try:
        item_id = _item_id(fields)
        fields = _storable({name: _parsed(name, value) for name, value in fields.items() if name != ""})
        _take(fields, ID_NAMES)
        columns = {name: _text(name, _take(fields, (name,))) for name in ("title", "brand", "description")}
        columns |= {name: _structure(_take(fields, names)) for name, names in STRUCTURED_NAMES.items()}
        image_url = _first(_take(fields, IMAGE_NAMES))
        price = _price(fields.get("price"))
    except ValueError as error:
        return Reject(source, item_id, str(error))
    if price is not None:
        del fields["price"]
    return Item(item_id, price=price, image_url=image_url, attributes=fields or None, **columns)


def _item_id(fields: dict) -> str:
    item_id = next((fields[name] for name in ID_NAMES if fields.get(name) not in (None, *NOTHING)), "")
    if isinstance(item_id, int):
        item_id = str(item_id)
    if not isinstance(item_id, str):
        raise ValueError("the item_id is not text")
    if reason := check_item_id(item_id):
        raise ValueError(reason)
    return item_id


def _parsed(name: str, value: object) -> object:
    """Parse a cell that holds a dict or list; the commas that some lost between their keys are put back."""
    is_literal = isinstance(value, str) and value.startswith(("{", "["))
    if not is_literal or not any(name in names for names in STRUCTURED_NAMES.values()):
        return value
    try:
        return parse_literal(LOST_COMMA.sub("], ", value))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _storable(fields: dict) -> dict:
    """Bring fields to what jsonb can hold, and leave out those that say nothing."""
    try:
        text = json.dumps(fields, ensure_ascii=False)
        loaded = json.loads(text, parse_constant=lambda name: None)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be stored as JSON: {error}") from error
    if reason := check_text(text.replace("\\\\", "").replace("\\u0000", "\0")):
        raise ValueError(f"a value {reason}")
    return {name: value for name, value in loaded.items() if value is not None and not _is_nothing(value)}


def _is_nothing(value: object) -> bool:
    return isinstance(value, str) and value.strip() in NOTHING


def _take(fields: dict, names: tuple[str, ...]) -> object:
    """Remove and return the first field there is; the others become attributes."""
    return next((fields.pop(name) for name in names if name in fields), None)


def _text(name: str, value: object) -> str | None:
    if isinstance(value, list):
        value = "\n".join(map(str, value))
    elif isinstance(value, dict):
        raise ValueError(f"the {name} is not text")
    return None if value is None else html.unescape(str(value)).strip() or None


def _structure(value: object) -> dict | list | int | float | None:
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() else [value]
    return [value] if isinstance(value, bool) else value


def _first(value: object) -> str | None:
    if isinstance(value, list):
        value = value[0] if value else None
    if value is not None and not isinstance(value, str):
        raise ValueError("the image's URL is not text")
    return value


def _price(value: object) -> Decimal | None:
    """Return the price, or None if it is none: then the text stays among the attributes."""
    match = PRICE.fullmatch(str(value).strip())
    price = Decimal(match[1].replace(",", "")) if match else None
    return price if price is not None and price < PRICES_END else None
