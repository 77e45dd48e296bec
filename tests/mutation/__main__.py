"""`python -m tests.mutation [FILE ...]`: how many mutants of `protocol/` its tests kill, and whether the rest is known.

mutmut makes the mutants and runs the tests that reach the changed function, the quickest first, until one fails; its
settings are under `[tool.mutmut]` in pyproject.toml. A mutant that never ends counts as killed, one that no test
reaches as alive. This fails if fewer than `LEAST` are killed, if one lives that `survivors.md` does not list, or if one
is listed that is dead by now.

What mutmut made stays in `mutants/` until the next run: `.venv/bin/mutmut browse` shows it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import get_module_from_key, orig_function_and_class_names_from_key

from tests.mutation.listing import LIST, Mutant, change_of, read_list

LEAST: Final = 0.9
"""The fraction that must be killed."""

_KILLED: Final = ("killed", "timeout", "segfault")
_SPINNER: Final = re.compile("[\u2800-\u28ff]")


@dataclass
class Tally:
    """What became of the mutants of one file."""

    file: str
    killed: int = 0
    alive: list[Mutant] = field(default_factory=list[Mutant])

    @property
    def mutants(self) -> int:
        """How many there were."""
        return self.killed + len(self.alive)

    @property
    def rate(self) -> float:
        """The fraction that was killed. Where there is nothing to kill, nothing is missing."""
        return self.killed / self.mutants if self.mutants else 1.0


def main() -> None:
    """Run mutmut over what the command line names, and say how it went."""
    sources = sorted(walk_mutatable_files())
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description="Mutate protocol/, and see whether its tests notice."
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="what to mutate; else all of protocol/")
    files: list[Path] = parser.parse_args().files
    if unknown := [str(file) for file in files if file not in sources]:
        parser.error(f"there is no {', '.join(unknown)} to mutate: name files of protocol/ from the top of the tree")
    files = sorted(set(files)) or sources
    _mutate([file for file in files if _has_mutants(file)])
    tallies = [_tally(file) for file in files]
    print(_table(tallies))
    faults = _faults(tallies)
    if faults:
        sys.exit("\n" + "\n\n".join(faults))


def _has_mutants(file: Path) -> bool:
    """Whether there is anything to change in it. mutmut takes a file without for a mistake."""
    return bool(mutate_file_contents(str(file), file.read_text(encoding="utf-8")).mutant_names)


def _mutate(files: Sequence[Path]) -> None:
    # Its cache knows changed functions, not changed tests.
    shutil.rmtree("mutants", ignore_errors=True)
    if not files:
        return
    print("mutmut is at work: seconds for a small file, several minutes for all of them", file=sys.stderr, flush=True)
    patterns = [f"{'.'.join(file.with_suffix('').parts)}.*" for file in files]
    program = [Path(sys.executable).with_name("mutmut"), "run", *patterns]
    # Where Python must not write byte code, pytest prepares the tests anew for every mutant, which takes far longer.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ran = subprocess.run(  # noqa: S603 - pinned, and our files
        program, capture_output=True, text=True, check=False, env=environment
    )
    if ran.returncode:
        told = "\n".join(line for line in ran.stdout.splitlines() if not _SPINNER.match(line))
        sys.exit(f"{told}\n{ran.stderr}\nmutmut ended with exit status {ran.returncode}: mend the tests first")


def _tally(file: Path) -> Tally:
    made = SourceFileMutationData(path=file)
    made.load()
    tally = Tally(str(file))
    for name, exit_code in made.exit_code_by_key.items():
        if status_by_exit_code[exit_code] in _KILLED:
            tally.killed += 1
        else:
            function, owner = orig_function_and_class_names_from_key(name)
            qualified = f"{owner}.{function}" if owner else function
            change = change_of(get_diff_for_mutant(name, path=file))
            tally.alive.append(Mutant(get_module_from_key(name), qualified, change))
    return tally


def _table(tallies: Sequence[Tally]) -> str:
    width = max(len(tally.file) for tally in tallies)
    lines = [f"{'':{width}}  mutants  killed  alive"]
    alive = [mutant for tally in tallies for mutant in tally.alive]
    lines += [
        f"{tally.file:{width}}  {tally.mutants:7}  {tally.killed:6}  {len(tally.alive):5}  {tally.rate:6.1%}"
        for tally in (*tallies, Tally("all", sum(tally.killed for tally in tallies), alive))
    ]
    return "\n".join(lines)


def _faults(tallies: Sequence[Tally]) -> list[str]:
    faults: list[str] = []
    killed, mutants = sum(tally.killed for tally in tallies), sum(tally.mutants for tally in tallies)
    if killed < LEAST * mutants:
        faults.append(f"{killed} of {mutants} were killed, which is less than {LEAST:.0%}")
    modules = {tally.file.removesuffix(".py").replace("/", ".") for tally in tallies}
    listed = {mutant for mutant in read_list(LIST.read_text(encoding="utf-8")) if mutant.module in modules}
    alive = {mutant for tally in tallies for mutant in tally.alive}
    if unlisted := sorted(alive - listed):
        told = "\n".join(mutant.as_listed() for mutant in unlisted)
        faults.append(f"{len(unlisted)} alive, not listed: kill each with a test, or list it with a reason\n\n{told}")
    if dead := sorted(listed - alive):
        told = "\n".join(mutant.as_listed() for mutant in dead)
        faults.append(f"{len(dead)} listed and not alive: take them off the list\n\n{told}")
    return faults


if __name__ == "__main__":
    main()
