"""What twistd and twist read to learn about tcpd; it imports nothing of tcpd's, so that `twistd --help` stays quick."""

from twisted.application.service import ServiceMaker

tcpd = ServiceMaker(
    "tcpd",
    "tcpd.tap",
    "Run any TCP protocol, written as Twisted Protocol and Factory classes, as a service.",
    "tcpd",
)
