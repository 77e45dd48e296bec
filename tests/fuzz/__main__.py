"""`python -m tests.fuzz [--seconds N]`: look for bytes that what reads the wire does not stand.

Guided by which lines of `protocol/` the bytes reach. Inputs that reached new ones stay in `.fuzz/`, where the next run
begins; so does one that did harm, as `crash-…`, and the run ends with its traceback.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(".fuzz")


def main() -> None:
    """Fuzz for as long as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads the wire.")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for how long (default 60)")
    seconds: int = parser.parse_args().seconds
    atheris: Any = import_module("atheris")  # `make fuzz` alone installs it
    with atheris.instrument_imports(include=["protocol"]):
        target = import_module("tests.fuzz.decode")
    FOLDER.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (FOLDER / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=2048", f"-artifact_prefix={FOLDER}/"]
    atheris.Setup([sys.argv[0], *options, str(FOLDER)], target.decode)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
