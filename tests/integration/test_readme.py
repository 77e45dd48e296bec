"""What the README shows, run as it stands: only the server's address is another one."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from protocol import errors
from tests.integration.servers import running_server

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


async def run(example: str) -> None:
    """Run statements that may await, as in an asynchronous interactive session."""
    code = compile(example, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict[str, Any] = {"__name__": "readme"}
    result: Any = eval(code, names)  # noqa: S307 - the README is ours
    if result is not None:
        await result


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.splitlines()[0])
async def test_the_readmes_examples_run(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    with running_server() as server:
        assert "http://127.0.0.1:8000/mcp" in example or "Upstream(" not in example
        # The example's token has an ellipsis for the reader, which no header can hold.
        await run(example.replace("http://127.0.0.1:8000/mcp", server.url).replace("Bearer …", "Bearer token"))
    assert capsys.readouterr().out


def test_the_readmes_table_has_every_error_of_the_pool_as_it_is() -> None:
    rows = re.findall(r"^\| (`\w+`.*?) \| .* \| (yes|no) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name: is_safe == "yes" for names, is_safe in rows for name in re.findall(r"`(\w+)`", names)}
    of_others = errors.ActorError, errors.ClusterError, errors.IllegalTransition
    there_are = {
        name: error.safe_to_retry
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.TroupeError) and not issubclass(error, of_others)
    }
    roots = {"TroupeError", "CallFailed"}
    assert told == {name: is_safe for name, is_safe in there_are.items() if name not in roots}


def test_the_readmes_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert all((README.parent / link).exists() for link in links)
