"""uvloop with a Protocol: asyncio's interface over libuv, and what Python users take for speed."""

from __future__ import annotations

import sys

import uvloop

from bench.servers.asyncio_protocol import serve

if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
