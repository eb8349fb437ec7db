"""What twistd and twist read to learn about tcpd.

It imports nothing of tcpd's, so that `twistd --help` stays quick.
"""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

tcpd = ServiceMaker(
    "tcpd",
    "tcpd.tap",
    "Run any TCP protocol, written as Twisted Protocol and Factory classes, as a service.",
    "tcpd",
)

tcpd_reactor = Reactor("tcpd", "tcpd.net.reactor", "epoll(7), lean, with tcpd's transports.")
