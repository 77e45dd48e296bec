"""The package's front door."""

import subprocess
import sys

import pytest

import actors


def test_every_public_name_is_there_and_documented() -> None:
    aliases = {"HandlerFactory", "MessageHandler", "Outcome", "Signal"}
    for name in actors.__all__:
        assert name in aliases or getattr(actors, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(actors, "nothing")  # noqa: B009 - the type checker knows better


def test_embedding_the_runtime_alone_does_not_import_the_mcp_sdk() -> None:
    program = "import sys, actors; print('mcp' in sys.modules); actors.open_pool; print('mcp' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.split() == ["False", "True"]
