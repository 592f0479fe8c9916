"""From the bytes of an image to the tensor that a network expects."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from pixelplum.untrusted import images

MAX_SIDE = 4096
"""No network takes larger images."""


@dataclass(frozen=True)
class Preprocessing:
    """What a network wants done to an image before it sees it.

    Parameters
    ----------
    width, height : int
        Input size in pixels.
    mean, std : tuple of float
        Per channel, in the order of `channels`: the tensor is
        ``(pixel - mean) / std`` with pixels in 0…255.
    channels : {'RGB', 'BGR'}
        Order of the color channels.
    layout : {'NHWC', 'NCHW'}
        Order of the tensor's axes; N is 1.
    """

    width: int
    height: int
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    channels: str = "RGB"
    layout: str = "NHWC"

    def __post_init__(self):
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise ValueError(f"an input of {self.width} x {self.height} pixels")
        if self.channels not in ("RGB", "BGR") or self.layout not in ("NHWC", "NCHW"):
            raise ValueError(f"channels {self.channels!r}, layout {self.layout!r}")
        if not np.isfinite([*self.mean, *self.std]).all() or not all(self.std):
            raise ValueError(f"mean {self.mean}, std {self.std}")

    @classmethod
    def from_dict(cls, fields: dict) -> Preprocessing:
        """Read what `to_dict` (or JSON made of it) holds."""
        fields = {**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])}
        return cls(**fields)

    def to_dict(self) -> dict:
        """Return a form that JSON can hold."""
        return asdict(self)


def decode(content: bytes, width: int, height: int) -> np.ndarray:
    """Decode an image and scale it to the given size.

    It becomes RGB as `pixelplum.untrusted.images.decode` says, and is
    stretched to the size asked for, as TensorFlow's image retraining did.

    Parameters
    ----------
    content : bytes
        An image's file.
    width, height : int
        Size of the result in pixels.

    Returns
    -------
    numpy.ndarray
        uint8, shape (height, width, 3), RGB.

    Raises
    ------
    ImageError
        If the bytes are empty, truncated, or no image.
    ImageTooLarge
        If it takes too much memory or time to decode.
    """
    image = images.decode(content, width, height)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def to_tensor(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Turn decoded pixels into the tensor of a batch of one.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, shape (height, width, 3), RGB, as `decode` returns.
    preprocessing : Preprocessing
        The network's wishes.

    Returns
    -------
    numpy.ndarray
        float32, contiguous, shape (1, height, width, 3) or, for
        layout NCHW, (1, 3, height, width).
    """
    tensor = pixels.astype(np.float32)
    if preprocessing.channels == "BGR":
        tensor = tensor[:, :, ::-1]
    tensor = (tensor - np.float32(preprocessing.mean)) / np.float32(preprocessing.std)
    if preprocessing.layout == "NCHW":
        tensor = tensor.transpose(2, 0, 1)
    return np.ascontiguousarray(tensor[np.newaxis], dtype=np.float32)
