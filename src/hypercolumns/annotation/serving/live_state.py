"""A version number that threads raise, and that requests wait for."""

import asyncio
from concurrent.futures import Future
from threading import Lock
from typing import Any


class LiveState:
    """A version that any thread may raise, and coroutines of one event loop that wait for a higher one.

    Attributes:
        version: the version, from 1.
    """

    def __init__(self) -> None:
        self.version = 1
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._ended = False

    def bump(self) -> None:
        """Raise the version."""
        with self._lock:
            self.version += 1
        self._wake()

    def end(self) -> None:
        """Let all that waits go on, now and later."""
        self._ended = True
        self._wake()

    async def wait_above(self, version: int, seconds: float) -> int:
        """Wait until the version is above `version`, for some seconds at most, and return it."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.version <= version and not self._ended:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or not await self._pause(left):
                break
        return self.version

    async def wait_for(self, future: "Future[Any]", seconds: float) -> Any:
        """Return the result of a future of another thread; None if it is not there after some seconds.

        A future that nobody waits for any more is cancelled.
        """
        result = asyncio.wrap_future(future)
        ended = asyncio.ensure_future(self._end())
        try:
            await asyncio.wait({result, ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return result.result() if result.done() and not result.cancelled() else None
        finally:
            ended.cancel()
            result.cancel()

    async def _end(self) -> None:
        while not self._ended:
            await self._pause(None)

    async def _pause(self, seconds: float | None) -> bool:
        """Wait for the next call of `bump` or `end`; return whether it came within some seconds."""
        self._loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(waiter)
        try:
            done, _ = await asyncio.wait({waiter}, timeout=seconds)
            return bool(done)
        finally:
            self._waiting.discard(waiter)

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
