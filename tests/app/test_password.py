"""The server's password: who is let in, and how often one may guess."""

import pytest

from afcore.app.password import MOST, WITHIN, Gate
from afcore.errors import BadRequest


def test_only_the_password_is_let_in_and_guessing_has_an_end(monkeypatch):
    monkeypatch.setenv("AFCORE_PASSWORD", "früh ☕")
    clock = [0.0]
    gate = Gate(lambda: clock[0])
    assert gate.admits("früh ☕") and not gate.admits("") and not gate.admits("fruh ☕")
    for _ in range(MOST - 2):
        assert not gate.admits("guess")
    with pytest.raises(BadRequest, match="wait a minute"):
        gate.admits("früh ☕")
    clock[0] += WITHIN
    assert gate.admits("früh ☕") and not gate.admits("guess")
