"""Files that may be compressed, read from front to end."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

DECOMPRESSORS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""By the bytes that a file begins with: suffixes lie."""

BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What reading raises when a file is cut short or damaged."""

MAX_LINE = 4 << 20
LINES_PER_REPORT = 1000


@contextmanager
def open_decompressed(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a file as it is, or through gzip, bzip2 or xz.

    Yields
    ------
    tuple
        The stream of its content, and the file, whose position is the
        progress.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        head = file.peek(6)
        for magic, decompressor in DECOMPRESSORS.items():
            if head.startswith(magic):
                yield stack.enter_context(decompressor(file)), file
                return
        yield file, file


class Lines:
    """The lines of a file that may be compressed; its byte order mark is left out.

    A line that is longer than `MAX_LINE` is cut to one byte more than that.

    Parameters
    ----------
    stream, file : binary files
        What `open_decompressed` yields.
    on_bytes : callable, optional
        Told now and then how many bytes of the file were consumed since the
        last call.

    Attributes
    ----------
    number : int
        Of the last line that was read, from 1.
    """

    def __init__(self, stream: BinaryIO, file: BinaryIO, on_bytes: Callable[[int], None] | None = None):
        self.number = 0
        self._stream = stream
        self._file = file
        self._on_bytes = on_bytes
        self._reported = 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            while line := self._stream.readline(MAX_LINE + 1):
                self.number += 1
                if len(line) > MAX_LINE:
                    self._skip_rest(line)
                if self.number % LINES_PER_REPORT == 0:
                    self._report()
                yield line.removeprefix(codecs.BOM_UTF8) if self.number == 1 else line
        finally:
            self._report()

    def _skip_rest(self, line: bytes) -> None:
        while line and not line.endswith(b"\n"):
            line = self._stream.readline(MAX_LINE)

    def _report(self) -> None:
        if self._on_bytes is not None and not self._file.closed and self._file.seekable():
            position = self._file.tell()
            self._on_bytes(position - self._reported)
            self._reported = position
