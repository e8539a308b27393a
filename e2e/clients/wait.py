"""Waiting with a bound."""

import time


def until(what, holds, limit_s):
    """Looks every 50 ms whether it holds; an error after `limit_s` seconds says what was waited for."""
    end = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(0.05)
