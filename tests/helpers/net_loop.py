"""A reactor that a test turns by hand: sockets are real, time is a `Clock`, nothing waits."""

import select

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReactorFDSet)
class HandReactor(_DisconnectSelectableMixin, Clock):
    """Serves what is ready now, once, when told to."""

    def __init__(self):
        super().__init__()
        self.readers = []
        self.writers = []

    def addReader(self, reader):
        if reader not in self.readers:
            self.readers.append(reader)

    def addWriter(self, writer):
        if writer not in self.writers:
            self.writers.append(writer)

    def removeReader(self, reader):
        if reader in self.readers:
            self.readers.remove(reader)

    def removeWriter(self, writer):
        if writer in self.writers:
            self.writers.remove(writer)

    def getReaders(self):
        return list(self.readers)

    def getWriters(self):
        return list(self.writers)

    def removeAll(self):
        everything = list({*self.readers, *self.writers})
        self.readers.clear()
        self.writers.clear()
        return everything

    def turn(self, times=1):
        """Run due calls, then what is readable, then what is writable."""
        for _ in range(times):
            self.advance(0)
            ready = select.select(self.readers, self.writers, [], 0)
            for selectable in ready[0]:
                if selectable in self.readers:
                    self._serve(selectable, selectable.doRead, True)
            for selectable in ready[1]:
                if selectable in self.writers:
                    self._serve(selectable, selectable.doWrite, False)

    def _serve(self, selectable, step, reading):
        why = step()
        if why is not None:
            self._disconnectSelectable(selectable, why, reading)

    def close(self):
        """End what is still open, as a reactor does that stops."""
        for selectable in self.removeAll():
            selectable.connectionLost(Failure(CONNECTION_LOST))
