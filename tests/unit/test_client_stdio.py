"""Standard input and output on real pipes, with a reactor that a test turns by hand."""

import os
import select
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.interfaces import IPushProducer, IReadDescriptor, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tcpd.client import stdio
from tcpd.client.stdio import Sink, Source


class Watching:
    """The part of a reactor that watches descriptors."""

    def __init__(self) -> None:
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard
        self.addWriter = self.writers.add
        self.removeWriter = self.writers.discard


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


class Heard:
    """A source, and what it told."""

    def __init__(self, fd: int) -> None:
        self.reactor = Watching()
        self.data: list[bytes] = []
        self.ends = 0
        self.errors: list[OSError] = []
        self.source = Source(
            self.reactor, fd, on_data=self.data.append, on_end=self.end, on_error=self.errors.append
        )

    def end(self) -> None:
        self.ends += 1


def test_a_source_reads_only_when_it_is_asked_to(pipe: tuple[int, int]) -> None:
    heard = Heard(pipe[0])
    assert verifyObject(IReadDescriptor, heard.source)
    assert verifyObject(IPushProducer, heard.source)
    assert heard.reactor.readers == set()
    heard.source.resumeProducing()
    assert heard.reactor.readers == {heard.source}
    heard.source.pauseProducing()
    assert heard.reactor.readers == set()


def test_a_source_tells_data_and_then_the_end_once(pipe: tuple[int, int]) -> None:
    heard = Heard(pipe[0])
    heard.source.resumeProducing()
    os.write(pipe[1], b"hello")
    heard.source.doRead()
    os.close(pipe[1])
    heard.source.doRead()
    heard.source.connectionLost(Failure(EOFError()))
    heard.source.resumeProducing()
    assert (heard.data, heard.ends, heard.reactor.readers) == ([b"hello"], 1, set())


def test_a_source_that_somebody_else_emptied_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[0], False)
    heard = Heard(pipe[0])
    heard.source.doRead()
    assert (heard.data, heard.ends, heard.errors) == ([], 0, [])


def test_a_source_that_can_not_be_read_says_so(pipe: tuple[int, int]) -> None:
    heard = Heard(pipe[1])
    heard.source.doRead()
    assert [error.strerror for error in heard.errors] == ["Bad file descriptor"]
    assert heard.source.ended


class Written:
    """A sink, and what it told."""

    def __init__(self, fd: int) -> None:
        self.reactor = Watching()
        self.rooms = 0
        self.errors: list[OSError] = []
        self.sink = Sink(self.reactor, fd, on_room=self.room, on_broken=self.errors.append)

    def room(self) -> None:
        self.rooms += 1


def test_a_sink_writes_what_the_pipe_takes_and_never_blocks(pipe: tuple[int, int]) -> None:
    written = Written(pipe[1])
    assert verifyObject(IReadWriteDescriptor, written.sink)
    data = os.urandom(stdio.HIGH_WATER + 1)
    written.sink.write(data)
    assert written.sink.full
    got = b""
    while written.reactor.writers:
        written.sink.doWrite()
        while select.select([pipe[0]], [], [], 0)[0]:
            got += os.read(pipe[0], 65536)
    assert got == data
    assert written.rooms == 1
    assert not written.sink.full


def test_flushing_waits_for_the_last_byte(pipe: tuple[int, int]) -> None:
    written = Written(pipe[1])
    done: list[None] = []
    written.sink.write(b"x")
    written.sink.flush().addCallback(done.append)
    assert done == []
    written.sink.doWrite()
    assert done == [None]
    assert written.reactor.readers == written.reactor.writers == set()


def test_a_sink_that_nobody_reads_is_broken_once_and_drops_the_rest(pipe: tuple[int, int]) -> None:
    written = Written(pipe[1])
    assert written.reactor.readers == {written.sink}  # to be told even when nothing is written
    os.close(pipe[0])
    written.sink.write(b"x")
    written.sink.doWrite()
    written.sink.write(b"y")
    written.sink.connectionLost(Failure(EOFError()))
    assert [type(error) for error in written.errors] == [BrokenPipeError]
    assert written.reactor.readers == written.reactor.writers == set()
    done: list[None] = []
    written.sink.flush().addCallback(done.append)
    assert done == [None]
