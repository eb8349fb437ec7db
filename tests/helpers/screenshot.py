"""Make the README's picture of the status page, with traffic: `python screenshot.py OUT.png`.

It takes a minute, so that the lines are drawn all the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.browser import Browser
from helpers.daemon import tcpd

CONFIGURATION = """
[listeners.gateway]
listen = ["tcp:0:interface=127.0.0.1", "unix:gateway.sock:mode=660"]
handler = "echo"

[listeners.telemetry]
listen = "tcp:0:interface=127.0.0.1"
handler = "discard"
limits = { sessions = 40 }

[listeners.orders]
listen = "tcp:0:interface=127.0.0.1"
handler = "echo"
access = { deny = ["127.9.0.0/16"] }

[connectors.uplink]
connect = "tcp:127.0.0.1:%d"
handler = "discard"

[connectors.backup]
connect = "tcp:127.0.0.1:1"
handler = "discard"

[sinks.events]
kind = "jsonl"
options = { path = "events.jsonl" }

[admin]
listen = "tcp:0:interface=127.0.0.1"
"""
SECONDS = 66.0


async def device(port: int, network: int, size: int, pause: float, end: float) -> None:
    """Come, talk for a while, and go, until it is over."""
    loop = asyncio.get_running_loop()
    while loop.time() < end:
        await asyncio.sleep(random.random() * 3)
        here = (f"127.{network}.{random.randrange(4)}.{random.randrange(2, 250)}", 0)
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=here)
            until = min(end, loop.time() + random.expovariate(1 / 40))
            while loop.time() < until:
                writer.write(b"x" * int(size * (0.4 + random.random())))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1 << 20), 0.01)
                await asyncio.sleep(pause * (0.5 + random.random()))
            writer.close()


async def traffic(ports: dict[str, int]) -> None:
    end = asyncio.get_running_loop().time() + SECONDS
    await asyncio.gather(
        *(device(ports["gateway"], 1, 3000, 0.4, end) for _ in range(140)),
        *(device(ports["telemetry"], 2, 24000, 1.2, end) for _ in range(36)),
        *(device(ports["orders"], 3, 600, 0.3, end) for _ in range(60)),
        device(ports["orders"], 9, 600, 0.3, end),
    )


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "tcpd.toml").write_text(CONFIGURATION % 1)
        with tcpd("--config", "tcpd.toml", cwd=Path(place)) as daemon:
            names = ("gateway", "telemetry", "orders", "admin")
            ports = {name: daemon.port(name) for name in names}
            (Path(place) / "tcpd.toml").write_text(CONFIGURATION % ports["gateway"])
            daemon.process.send_signal(1)
            browser = Browser()
            browser.look(1440, 1080)
            browser.open(f"http://127.0.0.1:{ports['admin']}/")

            async def run() -> None:
                moving = asyncio.create_task(traffic(ports))
                await asyncio.sleep(SECONDS - 3)
                browser.driver.save_screenshot(str(out))
                await moving

            asyncio.run(run())
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
