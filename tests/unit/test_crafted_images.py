"""Whatever an image's file is made of: it is refused, or decoded within 500 MB and two seconds."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageOps

from pixelplum.errors import ImageError, ImageTooLarge
from pixelplum.untrusted import images
from pixload.report.thumbnails import thumbnail
from pixload.sources.images import inspect
from tests.unit.crafted_images import (
    CRAFTED,
    bmp_run_lengths,
    jpeg,
    ordinary,
    png,
    saved,
    tiff_tiled,
    with_scans,
)

MEASURE = """
import json, re, sys, time
from pathlib import Path
import numpy as np
from PIL import Image
from pixelplum.core.networks.images import decode
from pixelplum.errors import ImageError

def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

Image.init()
for line in sys.stdin:
    content = Path(line.strip()).read_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins again
    before, begun = memory("VmRSS"), time.process_time()
    try:
        said = str(decode(content, 299, 299).shape)
        code = None
    except ImageError as error:
        said, code = f"{error} {error.hint}", error.sqlstate
    seconds, taken = time.process_time() - begun, memory("VmHWM") - before
    print(json.dumps([code, said, taken, seconds]), flush=True)
"""

SLOWER = 2
"""How much slower than those that the weights were measured on the cores may be that test."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return a function that decodes in a process of its own: SQLSTATE or None, what was said, bytes, seconds."""
    path = tmp_path_factory.mktemp("crafted") / "image"
    with subprocess.Popen(
        [sys.executable, "-c", MEASURE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:

        def measure(content: bytes):
            path.write_bytes(content)
            process.stdin.write(f"{path}\n")
            return json.loads(process.stdout.readline())

        yield measure
        process.stdin.close()


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_image_is_refused_or_cheap(measured, name):
    """In 0.7 these took up to 4 GB and half a minute, and a MemoryError ended the statement."""
    code, message, taken, seconds = measured(CRAFTED[name]())
    assert taken <= images.MOST_BYTES, message
    assert seconds <= SLOWER * images.MOST_SECONDS, message
    assert code in (None, "PX010", "PX011")
    if code == "PX011":
        assert "pixels" in message or "parts" in message or "scans" in message
        assert "None" not in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height"), [(12_000, 9_000), pytest.param(16_320, 12_240, marks=pytest.mark.exhaustive)]
)
def test_ordinary_large_photograph_is_let_in(measured, width, height):
    """108 and 200 megapixels, held upright: 0.7 refused them, though they are decoded at an eighth."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = ordinary(width, height, quality=80, exif=exif)
    code, message, taken, seconds = measured(content)
    assert (code, message) == (None, "(299, 299, 3)")
    assert taken <= 50e6 + len(content)
    assert seconds <= SLOWER * images.MOST_SECONDS
    assert inspect(content) == ("JPEG", width, height)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height"), [(6_000, 4_500), pytest.param(12_000, 9_000, marks=pytest.mark.exhaustive)]
)
def test_ordinary_large_progressive_photograph_is_let_in(measured, width, height):
    content = ordinary(width, height, quality=75, progressive=True)
    code, message, taken, seconds = measured(content)
    assert (code, message) == (None, "(299, 299, 3)")
    assert taken <= images.MOST_BYTES
    assert seconds <= SLOWER * images.MOST_SECONDS


@pytest.mark.parametrize("name", [name for name in CRAFTED if "100,000,000" in name or "3,000 scans" in name])
def test_loader_refuses_what_the_server_would(name):
    """0.7 loaded them, and the server met them at every extraction."""
    with pytest.raises(ValueError, match=r"pixels|scans"):
        inspect(CRAFTED[name]())


def test_report_shows_no_thumbnail_of_what_is_refused():
    """0.7 decoded it whole, with a whole copy of it."""
    assert thumbnail(png(60_000, 60_000, 1, 0), 80) is None
    assert thumbnail(with_scans(jpeg(64, 64, progressive=True), 201), 80) is None
    assert thumbnail(png(64, 64), 80).startswith("data:image/webp;base64,")


def test_short_memory_is_that_images_failure(monkeypatch):
    """0.7 let a MemoryError end the statement, and with it every extraction."""

    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(images, "_reduced", exhausted)
    with pytest.raises(ImageError, match="no memory") as caught:
        images.decode(png(8, 8), 8, 8)
    assert caught.value.sqlstate == "PX010"


def test_message_names_sides_scans_and_the_remedy():
    with pytest.raises(ImageTooLarge, match="100000000 x 1 pixels") as caught:
        images.decode(png(100_000_000, 1, 8, 0), 8, 8)
    assert "Scale the image down" in caught.value.hint
    with pytest.raises(ImageTooLarge, match="more than 200 scans") as caught:
        images.decode(with_scans(jpeg(64, 64, progressive=True), 201), 8, 8)
    assert "not progressive" in caught.value.hint


def test_metadata_are_dropped_and_pixels_stay():
    """What an image says besides its pixels never reaches Pillow, and changes nothing."""
    noise = Image.effect_noise((64, 48), 90).convert("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 1, "a camera"
    for kind, options in (
        ("JPEG", {"exif": exif, "icc_profile": bytes(3000), "comment": b"hello"}),
        ("PNG", {"exif": exif, "icc_profile": bytes(3000)}),
        ("WEBP", {"exif": exif, "icc_profile": bytes(3000), "xmp": b"<x/>", "lossless": True}),
        ("TIFF", {"exif": exif, "icc_profile": bytes(3000), "description": "hello", "compression": "tiff_lzw"}),
    ):
        content = saved(noise, kind, **options)
        outline = images.outline(content)
        assert b"camera" not in outline.content or kind == "TIFF"  # there, nothing points to it any more
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(images.decode(content, 64, 48)), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_as_pillow_applies_it(kind, orientation):
    image = Image.new("RGB", (40, 24), "white")
    image.paste("red", (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(image, kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    np.testing.assert_array_equal(np.asarray(images.decode(content, 40, 24)), np.asarray(expected))


def test_every_beginning_of_a_image_is_an_answer():
    """Files cut off anywhere are images that cannot be read, or can."""
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        content = saved(Image.effect_noise((24, 16), 90), kind)
        for length in range(0, len(content), 3):
            with suppress(ImageError):
                images.decode(content[:length], 8, 8)


def test_damaged_bytes_are_an_answer():
    random = np.random.default_rng(7)
    noise = Image.effect_noise((64, 48), 90)
    contents = [saved(noise, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]
    contents += [jpeg(64, 64, progressive=True), png(64, 64, 8, 3), tiff_tiled(64, 64, 16), bmp_run_lengths(64, 64, 64)]
    for content in contents:
        for _ in range(100):
            damaged = np.frombuffer(content, np.uint8).copy()
            damaged[random.integers(0, min(len(damaged), 400), 3)] = random.integers(0, 256, 3)
            with suppress(ImageError):
                images.decode(damaged.tobytes(), 8, 8)
