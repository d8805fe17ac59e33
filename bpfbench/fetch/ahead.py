"""Reads a stream ahead in a thread, so that decompression and writing files go on at the same time."""

from __future__ import annotations

import io
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 18
BLOCKS = 8
"""Blocks that wait to be read at most."""


class Ahead(io.RawIOBase):
    """What is in ``source``; its errors are raised where it is read. Close it, or a thread stays behind."""

    def __init__(self, source: io.RawIOBase) -> None:
        self._source = source
        self._blocks: queue.Queue[bytes | BaseException] = queue.Queue(BLOCKS)
        self._stopped = False
        self._block = memoryview(b"")
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` with what has been read ahead; 0 at the end."""
        if not self._block and not self._stopped:
            block = self._blocks.get()
            if isinstance(block, BaseException):
                self._stopped = True
                raise block
            self._block = memoryview(block)
            if not block:
                self._stopped = True
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._block))
        view[:size] = self._block[:size]
        self._block = self._block[size:]
        return size

    def close(self) -> None:
        """Stop reading ahead."""
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._blocks.get(timeout=0.01)  # it may be waiting for room
            except queue.Empty:
                continue
        super().close()

    def _fill(self) -> None:
        try:
            while not self._stopped:
                block = self._source.read(BLOCK) or b""
                self._blocks.put(block)
                if not block:
                    return
        except BaseException as error:  # for whoever reads
            self._blocks.put(error)
