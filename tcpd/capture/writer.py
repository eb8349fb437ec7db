"""Brings what a capture has made to the disk, in a thread of its own.

Rules:
- Who offers never waits. What comes while the queue is full isn't taken, and that is all.
- While the disk is full or the file can't be had, what was taken waits, and is tried again.
- The thread begins with the first piece, so that none is there before a daemon has forked.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections import deque
from collections.abc import Callable

from tcpd.capture.files import Files, Misplaced

# How long a piece waits for others to be written with, in seconds.
GATHER = 0.05
# How much is written at once.
BATCH = 1 << 20
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
# How long it may take to write what waits, when tcpd stops.
STOP = 3.0
# What a piece costs in memory besides its bytes.
_OVERHEAD = 120

_Piece = tuple[str, bytes, int, bool]


class Writer:
    """Writes pieces to files.

    Args:
        name: names the thread.
        files: the files; used in the thread alone, once it runs.
        limit: how many bytes may wait.
        tell: is called in the thread with a problem, and with nothing once it is over.
        clock: tells seconds.

    Attributes:
        lost_pieces: how many pieces were given up that had been taken.
        lost_bytes: how many bytes of sessions were in those.
        problem: why nothing can be written now; empty if it can.
    """

    def __init__(
        self,
        name: str,
        files: Files,
        limit: int,
        tell: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.lost_pieces = 0
        self.lost_bytes = 0
        self.problem = ""
        self._name = name
        self._files = files
        self._tell = tell
        self._clock = clock
        self._queue: deque[_Piece] = deque()
        # Each is changed by one side alone, so neither needs a lock.
        self._offered = 0
        self._taken = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._idle = False
        self._gathers = False
        self._reopen = False
        self._until = 0.0
        self._thread: threading.Thread | None = None

    @property
    def written(self) -> int:
        """How many bytes have been written."""
        return self._files.written

    @property
    def waiting(self) -> int:
        """How many bytes wait to be written."""
        return self._offered - self._taken

    def has_room(self, size: int) -> bool:
        """Return whether a piece of so many bytes would be taken."""
        waiting = self._offered - self._taken
        # One that alone is more than the limit is taken when nothing else waits.
        return waiting == 0 or waiting + size <= self.limit

    def offer(self, name: str, data: bytes, size: int = 0, *, last: bool = False) -> None:
        """Have a piece written to a file, whether or not there is room.

        Args:
            name: the file.
            data: the piece; it may be empty.
            size: how many bytes of a session are in it.
            last: whether it is the last for this file.
        """
        self._offered += len(data) + _OVERHEAD
        self._queue.append((name, data, size, last))
        if self._idle or (self._gathers and 4 * self.waiting > self.limit):
            self._idle = self._gathers = False
            self._wake.set()
        elif self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def reopen(self) -> None:
        """Have the files let go; what comes goes into new ones."""
        self._reopen = True
        self._wake.set()

    def close(self) -> None:
        """Have what waits written, in a few seconds, and the thread ended."""
        self._until = self._clock() + STOP
        self._closing.set()
        self._wake.set()
        if self._thread is None:
            self._files.close()

    def wait(self, tell: Callable[[], float] = lambda: math.inf) -> None:
        """Wait until that is done, or long enough.

        Args:
            tell: called now and then meanwhile; gives in how many seconds to call it again.
        """
        end = time.monotonic() + STOP + 1.0
        thread = self._thread
        while thread is not None and thread.is_alive() and (left := end - time.monotonic()) > 0:
            thread.join(min(left, tell()))

    @property
    def is_over(self) -> bool:
        """Whether it was closed, and has ended."""
        return self._closing.is_set() and (self._thread is None or not self._thread.is_alive())

    # -- in the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._work():
                pass
        finally:
            self._files.close()

    def _work(self) -> bool:
        """Write what there is, or wait for more; gives whether to go on."""
        if self._reopen:
            self._reopen = False
            self._files.close()
        if self._queue:
            self._batch()
            return True
        if self._closing.is_set():
            return False
        self._idle = True
        if not self._queue:  # and from here on, who offers wakes us
            self._wake.wait()
        self._idle = False
        self._wake.clear()
        self._gathers = not self._closing.is_set()
        if self._gathers:
            self._wake.wait(GATHER)
            self._gathers = False
        return True

    def _batch(self) -> None:
        """Write the pieces for one file that come first in the queue."""
        name = self._queue[0][0]
        most = min(BATCH, (self._files.rotate_size or BATCH) // 4)
        pieces: list[bytes] = []
        size = taken = true_size = 0
        last = False
        while self._queue and self._queue[0][0] == name and not last:
            data = self._queue[0][1]
            if pieces and size + len(data) > most:
                break
            _, data, true, last = self._queue.popleft()
            pieces.append(data)
            true_size += true
            size += len(data)
            taken += len(data) + _OVERHEAD
        joined = b"".join(pieces)
        if joined and not self._write(name, joined):
            self.lost_pieces += len(pieces)
            self.lost_bytes += true_size
        if last:
            try:
                self._files.done(name)
            except OSError as error:
                self._say(str(error.strerror))
        self._taken += taken

    def _write(self, name: str, data: bytes) -> bool:
        """Write until it has worked; gives whether it has."""
        pause = FIRST_PAUSE
        while True:
            try:
                self._files.append(name, data)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    self._say("the directory is gone")
                elif error.errno in (errno.ELOOP, errno.ENOTDIR) and not isinstance(
                    error, Misplaced
                ):
                    self._say("the directory isn't one, or a symbolic link")
                else:
                    self._say(str(error.strerror))
                if self._gives_up(error):
                    return False
                self._closing.wait(pause) if not self._closing.is_set() else time.sleep(0.05)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._say("")
                return True

    def _gives_up(self, error: OSError) -> bool:
        if self._files.is_many and isinstance(error, Misplaced):
            return True  # the other sessions' files don't wait for this one
        return self._closing.is_set() and self._clock() >= self._until

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._tell(problem)
