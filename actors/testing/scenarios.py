"""What is simulated: a coroutine function, and what belongs to it."""

import importlib
import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, cast

from actors.testing.errors import UnknownScenario
from actors.testing.faults import Fault

if TYPE_CHECKING:
    from actors.testing.simulation import Simulation

TIME_LIMIT: Final = 3600.0

Play = Callable[["Simulation"], Awaitable[None]]
Plan = Sequence[Fault] | Callable[[Random], Sequence[Fault]]


class Scenario:
    """A scenario with what belongs to it, so that whoever runs it need not know. Made by `@scenario`.

    Attributes:
        play: the coroutine function.
        faults: the plan of faults, or what draws one from the seed.
        time_limit: seconds of virtual time that it may take.
    """

    def __init__(self, play: Play, *, faults: Plan = (), time_limit: float = TIME_LIMIT) -> None:
        self.play = play
        self.faults = faults
        self.time_limit = time_limit

    async def __call__(self, simulation: "Simulation") -> None:
        """Play it, as part of another scenario."""
        await self.play(simulation)

    def plan(self, random: Random) -> tuple[Fault, ...]:
        """The faults of one run."""
        return tuple(self.faults(random) if callable(self.faults) else self.faults)

    @property
    def name(self) -> str:
        """The name of its function."""
        return getattr(self.play, "__qualname__", repr(self.play))


def scenario(*, faults: Plan = (), time_limit: float = TIME_LIMIT) -> Callable[[Play], Scenario]:
    """Decorate a scenario with what belongs to it.

        @scenario(faults=[Drop(0.1)])
        async def news(simulation: Simulation) -> None: ...

    Args:
        faults: the plan of faults; or a function that draws it, from a `Random` that the seed decides
            (`lambda random: random_faults(random, ["a", "b"], 60)`).
        time_limit: seconds of virtual time that it may take.
    """
    return lambda play: Scenario(play, faults=faults, time_limit=time_limit)


def as_scenario(played: Play | Scenario) -> Scenario:
    """What a scenario is given as, in one form."""
    return played if isinstance(played, Scenario) else Scenario(played)


def command(scenario: Scenario, seed: int, faults: Sequence[Fault], time_limit: float) -> str | None:
    """The shortest command that runs a scenario again; None if it cannot be found by name.

    Args:
        scenario: the scenario.
        seed: the seed.
        faults: those that are not the scenario's own.
        time_limit: seconds of virtual time.
    """
    if (found := address(scenario)) is None:
        return None
    parts = ["python", "-m", "actors.testing", found, "--seed", str(seed)]
    for fault in faults:
        parts += ["--fault", repr(fault)]
    if time_limit != scenario.time_limit:
        parts += ["--time-limit", f"{time_limit:g}"]
    return shlex.join(parts)


def address(scenario: Scenario) -> str | None:
    """Where a scenario is found: `package.module:name`, or `path.py:name`; None if nowhere."""
    name, module = getattr(scenario.play, "__qualname__", ""), sys.modules.get(scenario.play.__module__)
    if module is None or _attribute(module, name) not in (scenario, scenario.play):
        return None
    file: str | None = getattr(module, "__file__", None)
    if file is None:
        return None
    # By its module's name, if that is one from here: a test's may be one only where its runner looks.
    path = os.path.relpath(file)
    dotted = path.removesuffix(".py").removesuffix(f"{os.sep}__init__").replace(os.sep, ".")
    if module.__name__ != "__main__" and (dotted == module.__name__ or path.startswith(os.pardir)):
        return f"{module.__name__}:{name}"
    return f"{path}:{name}"


def find(where: str) -> Scenario:
    """The scenario at an address.

    Raises:
        UnknownScenario: there is none.
    """
    place, _, name = where.rpartition(":")
    if not place or not name:
        raise UnknownScenario(f"{where!r} names no scenario: write package.module:name, or path.py:name")
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise UnknownScenario(f"{where!r} names no scenario: there is no file {place}")
        sys.path.insert(0, str(path.parent))
        spec = spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise UnknownScenario(f"{where!r} names no scenario: {place} cannot be imported")
        module = sys.modules[path.stem] = module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise
            raise UnknownScenario(f"{where!r} names no scenario: there is no module {error.name}") from error
    found = _attribute(module, name)
    if not isinstance(found, Scenario) and not callable(found):
        raise UnknownScenario(f"{where!r} names no scenario: {place} has no {name} that can be run")
    return as_scenario(cast("Play | Scenario", found))


def _attribute(module: object, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
