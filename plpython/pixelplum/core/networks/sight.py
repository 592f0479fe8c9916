"""Whether a network sees anything: a check of how it was imported."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

from pixelplum.core.networks.onnx import Network
from pixelplum.core.search.vectors import distances
from pixelplum.errors import ModelBlind

DIFFERENT = 0.002
"""Cosine distance of two images that have nothing in common: 0.3 to 0.6 in trained networks, 0.015 in networks with
random weights, below 0.0015 where pixels are scaled to a hundredth of what the network expects."""

SAME = 0.1
"""Largest distance of an image to its re-encoded copy, as a fraction of its distance to the other image."""


def check_sight(network: Network) -> None:
    """Refuse a network that does not tell two images apart, or takes one image for two.

    Parameters
    ----------
    network : Network
        As it was imported.

    Raises
    ------
    ModelBlind
        If two drawn images have nearly the same features, or an image
        and its copy as a JPEG have not.
    """
    shoe, face = _shoe(), _face()
    first, copy, other = (
        network.embed(content)
        for content in (_encoded(shoe, "PNG"), _encoded(shoe, "JPEG", quality=90), _encoded(face, "PNG"))
    )
    if not (first.any() and other.any()):
        raise ModelBlind("The model sees nothing: all features of an image are zero")
    same, different = distances(first, np.stack((copy, other)))
    if different < DIFFERENT:
        raise ModelBlind(
            f"The model does not tell images apart: two that have nothing in common are at distance {different:.2g}"
        )
    if same > SAME * different:
        raise ModelBlind(
            f"The model takes an image and its copy as a JPEG for two: their distance is {same:.2g}, "
            f"that of another image {different:.2g}"
        )


def _shoe() -> Image.Image:
    image = Image.new("RGB", (320, 320), (235, 235, 230))
    draw = ImageDraw.Draw(image)
    draw.polygon([(120, 40), (190, 40), (200, 190), (280, 230), (280, 260), (110, 260)], fill=(90, 50, 30))
    draw.rectangle((110, 255, 150, 290), fill=(20, 20, 20))
    draw.line((130, 60, 180, 60), fill=(250, 200, 60), width=6)
    return image


def _face() -> Image.Image:
    image = Image.new("RGB", (320, 320), (70, 120, 180))
    draw = ImageDraw.Draw(image)
    draw.ellipse((60, 60, 260, 260), fill=(250, 230, 90))
    for x in range(0, 320, 20):
        draw.line((x, 0, x, 320), fill=(30, 60, 40), width=4)
    draw.ellipse((110, 110, 150, 150), fill=(30, 30, 30))
    draw.ellipse((180, 110, 220, 150), fill=(30, 30, 30))
    return image


def _encoded(image: Image.Image, form: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()
