"""Metadata as numbers: prices standardized, brands, categories, relations and title words by TF-IDF.

An item is a dict with ``item_id`` and what is known of it: ``price`` (a
number), ``brand`` and ``title`` (text), ``categories`` and ``related`` (lists
of texts). What is missing is None, or left out.
"""

from __future__ import annotations

import re

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler

from pixelplum.errors import NoMetadata, UnusableArgument, shown

FIELDS = ("price", "brand", "categories", "related", "title")
MAX_TERMS = 4096
MAX_WEIGHT = 1e6  # above it, single precision would have nothing left for images
WORD = re.compile(r"\w\w+")


def check(fields: list[str] | None, weight: float | None, terms: int | None) -> None:
    """Refuse what no metadata can be encoded by.

    Raises
    ------
    UnusableArgument
        If no field is named, or one that there is not.
    UnusableArgument
        If the weight or the number of terms is out of range.
    """
    if not fields:
        raise UnusableArgument(
            f"fields must be some of {', '.join(FIELDS)}, not none", hint="Leave it out to have all."
        )
    for field in fields:
        if field not in FIELDS:
            raise UnusableArgument(
                f"fields must be some of {', '.join(FIELDS)}, not {shown(field)}", hint="Leave it out to have all."
            )
    if weight is None or not 0 < weight <= MAX_WEIGHT:
        raise UnusableArgument(
            f"weight must be above 0, and at most {MAX_WEIGHT:,}, not {shown(weight)}",
            hint="1 is as much as the image; leave it out to have that.",
        )
    if terms is None or not 1 <= terms <= MAX_TERMS:
        raise UnusableArgument(
            f"terms must be from 1 to {MAX_TERMS:,}, not {shown(terms)}", hint="Leave it out to have 256 terms a field."
        )


def fit(items: list[dict], fields: list[str], terms: int, length: float) -> dict:
    """Learn from items how metadata are encoded.

    Parameters
    ----------
    items : list of dict
    fields : list of str
        Of `FIELDS`.
    terms : int
        How many values of each field have a column, at most.
    length : float
        What the encoded metadata of these items are to be long, as root mean square.

    Returns
    -------
    dict
        The fitted_state, which JSON can hold: ``scale``, ``columns``, ``blocks`` (one for each field, in
        order), and ``empty``, the fields that have no columns because no item has them.

    Raises
    ------
    NoMetadata
        If no field has columns.
    """
    fields = list(dict.fromkeys(fields))
    fitted = {field: _fit_prices(items) if field == "price" else _fit_values(items, field, terms) for field in fields}
    blocks = [{"field": field, **block} for field, block in fitted.items() if block is not None]
    rows = _rows(items, blocks)
    typical = np.sqrt(rows.power(2).sum() / len(items))
    if not typical > 0:
        raise NoMetadata(f"No items have anything in common in {', '.join(fields)}, or all have the same")
    return {
        "scale": float(length / typical),
        "columns": rows.shape[1],
        "blocks": blocks,
        "empty": [field for field in fields if fitted[field] is None],
    }


def encode(items: list[dict], fitted_state: dict) -> np.ndarray:
    """Encode the metadata of items.

    Parameters
    ----------
    items : list of dict
    fitted_state : dict
        Of `fit`.

    Returns
    -------
    numpy.ndarray
        float32, shape (items, columns).
    """
    return (fitted_state["scale"] * _rows(items, fitted_state["blocks"])).toarray().astype("<f4")


def _rows(items: list[dict], blocks: list[dict]) -> sparse.csr_matrix:
    parts = [_encode_prices(items, b) if b["field"] == "price" else _encode_values(items, b) for b in blocks]
    return sparse.hstack([sparse.csr_matrix((len(items), 0)), *parts], format="csr")


def _logarithms(items: list[dict]) -> np.ndarray:
    """Return log(1 + price) as a column; NaN where there is no price, or none that can be."""
    values = [item.get("price") for item in items]
    prices = np.array([price if isinstance(price, int | float) else np.nan for price in values], float)
    prices[~(np.isfinite(prices) & (prices >= 0))] = np.nan
    return np.log1p(prices)[:, np.newaxis]


def _fit_prices(items: list[dict]) -> dict | None:
    logarithms = _logarithms(items)
    if np.isnan(logarithms).all():
        return None
    scaler = StandardScaler().fit(logarithms)
    return {"mean": float(scaler.mean_[0]), "deviation": float(scaler.scale_[0])}


def _encode_prices(items: list[dict], block: dict) -> sparse.csr_matrix:
    """Return two columns: the price, and whether it is missing. Their root mean square length is 1 as it is."""
    logarithms = _logarithms(items)
    missing = np.isnan(logarithms)
    prices = np.where(missing, 0, (logarithms - block["mean"]) / block["deviation"])
    return sparse.csr_matrix(np.hstack([prices, missing]))


def _values(item: dict, field: str) -> set[str]:
    value = item.get(field)
    if not value:
        return set()
    if field == "title":
        return set(WORD.findall(value.lower()))
    if field == "brand":
        return {value}
    return {*value, item["item_id"]} if field == "related" else set(value)


def _fit_values(items: list[dict], field: str, terms: int) -> dict | None:
    vectorizer = TfidfVectorizer(analyzer=set, min_df=2, max_features=terms)
    try:
        vectorizer.fit([_values(item, field) for item in items])
    except ValueError:  # nothing is left of the vocabulary
        return None
    return {"values": vectorizer.get_feature_names_out().tolist(), "idf": vectorizer.idf_.tolist()}


def _encode_values(items: list[dict], block: dict) -> sparse.csr_matrix:
    vectorizer = TfidfVectorizer(analyzer=set, vocabulary=block["values"])
    vectorizer.idf_ = np.array(block["idf"])
    return vectorizer.transform([_values(item, block["field"]) for item in items])
