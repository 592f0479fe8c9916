"""From the bytes of a picture to the tensor that a network expects."""

from __future__ import annotations

import io
import warnings
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pixelplum.errors import PictureError, PictureTooLarge

MAX_PIXELS = 100_000_000
"""Pictures above this are refused: 10,000 x 10,000 takes 400 MB while it is decoded."""

MAX_SIDE = 4096
"""No network takes larger pictures."""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""Formats that are decoded. Pillow knows more, some of which start other programs (EPS)."""

# The limit is checked here, with a message of our own, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Preprocessing:
    """What a network wants done to a picture before it sees it.

    Parameters
    ----------
    width, height : int
        Input size in pixels.
    mean, std : tuple of float
        Per channel, in the order of `channels`: the tensor is
        ``(pixel - mean) / std`` with pixels in 0…255.
    channels : {'RGB', 'BGR'}
        Order of the colour channels.
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
    """Decode a picture and scale it to the given size.

    EXIF orientation is applied, transparency is flattened on white, any
    colour mode becomes RGB, 16-bit grey is brought to 8 bits, and of an
    animation the first frame is taken. The picture is stretched to the
    size asked for, as TensorFlow's image retraining did.

    Parameters
    ----------
    content : bytes
        A file in one of `FORMATS`.
    width, height : int
        Size of the result in pixels.

    Returns
    -------
    numpy.ndarray
        uint8, shape (height, width, 3), RGB.

    Raises
    ------
    PictureError
        If the bytes are empty, truncated, or no picture.
    PictureTooLarge
        If the picture has more than `MAX_PIXELS` pixels.
    """
    if not content:
        raise PictureError("The picture is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata that do not concern the pixels
            return _decode(content, width, height)
    except (PictureError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise PictureError("The bytes are not a picture in a known format") from error
    except Exception as error:  # Pillow's plugins raise nearly every class there is
        raise PictureError(f"The bytes are not a picture that can be read: {error}") from error


def _decode(content: bytes, width: int, height: int) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise PictureTooLarge(f"The picture has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        # A JPEG is decoded at the nearest binary fraction of its size: much faster, no visible loss.
        image.draft("RGB", (2 * width, 2 * height))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        factor = min(image.width // (2 * width), image.height // (2 * height))
        if factor > 1 and image.mode not in ("1", "P", "PA"):  # palette entries have no average
            image = image.reduce(factor)
        picture = _to_rgb(image)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        scale = 255 / 65535 if values.max() > 255 else 1
        return Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(page, image).convert("RGB")
    return image.convert("RGB")


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
