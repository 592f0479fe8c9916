"""How pixels are scaled for a network, as far as its graph tells."""

from __future__ import annotations

import numpy as np

SYMMETRIC = ((127.5,) * 3, (127.5,) * 3)
"""[-1, 1]: Inception, MobileNet and most networks of TensorFlow."""

UNSCALED = ((0.0,) * 3, (1.0,) * 3)
"""0…255: the network scales by itself."""

UNIT = ((0.0,) * 3, (255.0,) * 3)
"""[0, 1]."""

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and deviation of ImageNet's pixels: most networks of PyTorch."""

CAFFE = ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
"""Mean of ImageNet's pixels in the order BGR, not divided: ResNet50 of Keras."""

SMALLEST, LARGEST = 0.4, 8
"""Networks are trained on numbers about this large."""


def preprocessing(width: int, height: int, mean, std, channels: str = "RGB", layout: str = "NHWC") -> dict:
    """Describe preprocessing in the words of `pixelplum.core.images.Preprocessing`."""
    return {
        "width": width, "height": height, "mean": list(mean), "std": list(std), "channels": channels, "layout": layout,
    }  # fmt: skip


def describe(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """Say how pixels are scaled."""
    if (tuple(mean), tuple(std)) == UNSCALED:
        return "as they are, 0 to 255"
    texts = [f"{n[0]:g}" if len(set(n)) == 1 else ",".join(f"{number:g}" for number in n) for n in (mean, std)]
    return f"(x - {texts[0]}) / {texts[1]}"


class Affine:
    """A chain of additions and multiplications per channel: ``factor * x + offset``."""

    def __init__(self):
        self.factor, self.offset = np.ones(3), np.zeros(3)

    def multiply(self, number) -> None:
        self.factor, self.offset = self.factor * number, self.offset * number

    def add(self, number) -> None:
        self.offset = self.offset + number

    @property
    def is_identity(self) -> bool:
        return bool((self.factor == 1).all() and (self.offset == 0).all())

    def as_mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Write the chain as ``(x - mean) / std``."""
        std = 1 / self.factor
        mean = -self.offset * std + 0.0  # no negative zero
        return tuple(map(float, mean)), tuple(map(float, std))

    def expected_input(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Tell how to scale pixels for a network that begins with this chain: as 0…255, [0, 1], or unknown."""
        if self.is_identity:
            return None
        if (self.factor == 1).all():
            return UNSCALED  # the mean of pixels is subtracted
        for scaling, largest in ((UNSCALED, 255.0), (UNIT, 1.0)):
            ends = np.abs([self.offset, self.factor * largest + self.offset]).max()
            if SMALLEST <= ends <= LARGEST:
                return scaling
        return None
