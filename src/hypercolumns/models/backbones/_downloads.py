"""Download weights: go on with the caches at once where the Hugging Face Hub is out of reach, and say why it failed."""

import contextlib
import importlib
import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from hypercolumns.errors import class_names, summarize_error

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # variables with which the Hugging Face Hub downloads nothing
PORTS = {"http": 80, "https": 443}
PATIENCE = 10.0  # seconds to wait for a connection


@contextlib.contextmanager
def hub_without_retries() -> Iterator[str | None]:
    """Let the Hugging Face Hub use only its cache if its host can't be reached, and log no warnings.

    The Hub itself tries each file six times, for about half a minute, and logs each attempt.

    Yields:
        Why the Hub can't be reached; None if it can, or if it is used through a proxy, which is not tried.
    """
    constants: Any = importlib.import_module("huggingface_hub.constants")
    logging = importlib.import_module("huggingface_hub.utils.logging")
    was_offline, verbosity = constants.HF_HUB_OFFLINE, logging.get_verbosity()
    problem = None if was_offline or getproxies() else _problem(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = was_offline or problem is not None
    logging.set_verbosity_error()
    try:
        yield problem
    finally:
        constants.HF_HUB_OFFLINE = was_offline
        logging.set_verbosity(verbosity)


def _problem(address: str) -> str | None:
    """Return why no connection to the host of a web address is possible; None if it is."""
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or PORTS[parts.scheme]), timeout=PATIENCE):
            return None
    except (OSError, KeyError, ValueError) as error:
        return f"no connection to {parts.hostname}: {summarize_error(error)}"


def reason(error: Exception, problem: str | None = None) -> str:
    """Say in a few words why weights could not be loaded.

    Libraries put long advice about their own settings around the error that counts, which is the first one.

    Args:
        error: the error.
        problem: what `hub_without_retries` yielded.

    Returns:
        The reason, for brackets in a message.
    """
    first: BaseException = error
    while (earlier := first.__cause__ or (None if first.__suppress_context__ else first.__context__)) is not None:
        first = earlier
    if "OfflineModeIsEnabled" not in class_names(first):
        return summarize_error(first)
    names = " ".join(f"{name}={os.environ[name]}" for name in OFFLINE if os.environ.get(name))
    return problem or f"{names or 'offline mode'} is set, so nothing is downloaded"
