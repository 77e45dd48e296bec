"""The mutants that live on although every rule is tested, as `survivors.md` lists them.

There a heading of the third level names a function, the blocks of changes beneath it are mutants of that function, and
the text that follows says why those before it, back to the text before, are no gap in the tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("survivors.md")

_FUNCTION = "### "
_HEADING = "#"
_BLOCK = "```diff"
_BLOCK_END = "```"


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """One change to one function.

    Attributes:
        module: where, as it is imported.
        function: which, with its class before it.
        change: the lines taken out, each after a "-", and those put in, each after a "+".
    """

    module: str
    function: str
    change: str

    @property
    def place(self) -> str:
        """What its heading says."""
        return f"{self.module}.{self.function}"

    def as_listed(self) -> str:
        """How it stands in the list, but for the reason."""
        return f"{_FUNCTION}{self.place}\n{_BLOCK}\n{self.change}\n{_BLOCK_END}\n"


def change_of(diff: str) -> str:
    """The lines that a unified diff takes out and puts in."""
    lines = [line.rstrip() for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    return "\n".join(line for line in lines if line.startswith(("-", "+")))


def read_list(text: str) -> dict[Mutant, str]:
    """The mutants that are listed, each with its reason, which is empty where none is given.

    Raises:
        ValueError: a block stands under no function, or does not end.
    """
    reasons: dict[Mutant, str] = {}
    module = function = ""
    waiting: list[Mutant] = []
    explained = False
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(_HEADING):
            is_function = line.startswith(_FUNCTION)
            module, function = _split(line.removeprefix(_FUNCTION).strip()) if is_function else ("", "")
            waiting = []
        elif line.strip() == _BLOCK:
            if not function:
                raise ValueError("a block of changes in the list stands under no function: give it a heading of ###")
            if explained:
                waiting = []
            explained = False
            mutant = Mutant(module, function, "\n".join(_until_the_end(lines)))
            waiting.append(mutant)
            reasons[mutant] = ""
        elif line.strip() and waiting:
            explained = True
            for mutant in waiting:
                reasons[mutant] = f"{reasons[mutant]} {line.strip()}".strip()
    return reasons


def _split(place: str) -> tuple[str, str]:
    """The module, which is a package's, and what is in it."""
    package, module, function = (*place.split(".", maxsplit=2), "", "")[:3]
    return f"{package}.{module}", function


def _until_the_end(lines: Iterator[str]) -> list[str]:
    block: list[str] = []
    for line in lines:
        if line.strip() == _BLOCK_END:
            return block
        block.append(line.rstrip())
    raise ValueError("a block of changes in the list does not end: close it with ```")
