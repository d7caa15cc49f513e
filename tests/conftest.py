"""A store of the session's own, before any test module is imported."""

from tests.support import state

assert state.HOME
