"""Waiting for a condition, never for luck."""

import time


class Late(AssertionError):
    """A condition did not come true by its deadline."""


def until(condition, within=5.0, every=0.02, what=None):
    """Calls `condition` until it returns something true, and returns that; raises `Late` after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Late(f"{what or 'the condition'} did not come true within {within} s (last: {value!r})")
        time.sleep(every)


def holds(condition, seconds, every=0.05, what=None):
    """Asserts that `condition` stays true for `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"{what or 'the condition'} stopped being true"
        time.sleep(every)
