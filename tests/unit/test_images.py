"""Images of every kind become RGB pixels; what is not an image is refused."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from pixelplum.core.networks.images import Preprocessing, decode, to_tensor
from pixelplum.errors import ImageError, ImageTooLarge

RED = (200, 30, 40)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def color(content: bytes) -> np.ndarray:
    return decode(content, 8, 8).reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats(kind):
    content = encode(Image.new("RGB", (40, 30), RED), kind)
    pixels = decode(content, 16, 12)
    assert pixels.shape == (12, 16, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(color(content), RED, atol=4)


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("P", "PNG"), ("YCbCr", "TIFF"), ("LAB", "TIFF")])
def test_color_modes_become_rgb(mode, kind):
    image = Image.new("RGB", (40, 30), RED)
    image = image.convert(mode) if mode != "LAB" else Image.new("LAB", (40, 30), (110, 180, 150))
    assert decode(encode(image, kind), 8, 8).shape == (8, 8, 3)
    if mode != "LAB":
        np.testing.assert_allclose(color(encode(image, kind)), RED, atol=12)


def test_formats_that_start_other_programs_are_refused():
    with pytest.raises(ImageError):
        decode(encode(Image.new("RGB", (40, 30), RED), "EPS"), 8, 8)


def test_gray_becomes_three_equal_channels():
    np.testing.assert_allclose(color(encode(Image.new("L", (40, 30), 99))), (99, 99, 99), atol=1)


def test_sixteen_bit_gray_keeps_its_tones():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(1, 64).repeat(64, axis=0)
    pixels = decode(encode(Image.fromarray(ramp)), 64, 64)[:, :, 0]
    np.testing.assert_allclose(pixels[0], np.linspace(0, 255, 64), atol=2)


def test_transparency_is_flattened_on_white():
    np.testing.assert_allclose(color(encode(Image.new("RGBA", (40, 30), (*RED, 0)))), (255, 255, 255))
    np.testing.assert_allclose(color(encode(Image.new("LA", (40, 30), (0, 0)))), (255, 255, 255))


def test_palette_with_transparent_color_is_flattened():
    image = Image.new("P", (40, 30), 0)
    image.putpalette([0, 0, 0, *RED])
    np.testing.assert_allclose(color(encode(image, "PNG", transparency=0)), (255, 255, 255))


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left half becomes the top
    pixels = decode(encode(image, "JPEG", exif=exif, quality=95), 10, 20)
    assert pixels[:8].mean() < 20
    assert pixels[12:].mean() > 235


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (40, 30), tone) for tone in (RED, (0, 0, 255))]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(color(content), RED, atol=4)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html>not found</html>", b"\xff\xd8\xff\xe0" + bytes(20), bytes(1000)]
)
def test_what_is_no_image(content):
    with pytest.raises(ImageError):
        decode(content, 8, 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated(kind):
    noise = np.random.default_rng(7).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), kind)
    with pytest.raises(ImageError, match=r"truncated|not an image"):
        decode(content[: len(content) // 2], 8, 8)


def test_decompression_bomb_is_refused_before_decoding():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(ImageTooLarge, match="50000 x 50000"):
        decode(bomb, 8, 8)


def test_large_jpeg_scales_like_a_full_decode():
    ramp = np.linspace(0, 255, 1600).astype(np.uint8)[None, :, None].repeat(1200, axis=0).repeat(3, axis=2)
    image = Image.fromarray(ramp)
    expected = np.asarray(image.resize((100, 75), Image.Resampling.BILINEAR)).astype(int)
    got = decode(encode(image, "JPEG", quality=95), 100, 75).astype(int)
    assert np.abs(got - expected).max() <= 4


@pytest.mark.parametrize("mode", ["RGBA", "I", "L", "P", "1"])
def test_large_image_of_any_mode_takes_little_more_than_its_pixels(mode):
    code = f"""
import io, resource
from PIL import Image
from pixelplum.core.networks.images import decode
file = io.BytesIO()
Image.new({mode!r}, (5000, 5000)).save(file, "TIFF" if {mode!r} == "I" else "PNG")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert decode(file.getvalue(), 96, 96).shape == (96, 96, 3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 330_000  # kB; 25 million pixels of four bytes are 98,000


def test_tensor_layouts():
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    plain = to_tensor(pixels, Preprocessing(4, 2))
    assert plain.shape == (1, 2, 4, 3)
    np.testing.assert_allclose(plain[0], pixels / 127.5 - 1, rtol=1e-6)
    caffe = to_tensor(pixels, Preprocessing(4, 2, (1.0, 2.0, 3.0), (1.0, 1.0, 1.0), "BGR", "NCHW"))
    assert caffe.shape == (1, 3, 2, 4)
    assert caffe.flags.c_contiguous
    np.testing.assert_allclose(caffe[0, 0], pixels[:, :, 2] - 1.0)


def test_preprocessing_survives_json():
    import json

    preprocessing = Preprocessing(299, 299, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "BGR", "NCHW")
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing
