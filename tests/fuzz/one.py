"""One target under atheris, in a process of its own: python -m tests.fuzz.one TARGET libFuzzer's-options... FOLDER"""

from __future__ import annotations

import logging
import sys

import atheris


def main() -> None:
    """Fuzz until libFuzzer's limits; the exit status is libFuzzer's."""
    name = sys.argv.pop(1)
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=instrumented(name)):
        from tests.fuzz.targets import TARGETS
    atheris.Setup(sys.argv, TARGETS[name].run, enable_python_coverage=True)
    atheris.Fuzz()


def instrumented(name: str) -> list[str]:
    """What guides the target, asked of a process that has imported everything without instruments."""
    import subprocess

    program = f"from tests.fuzz.targets import TARGETS; print('\\n'.join(TARGETS[{name!r}].instrumented))"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()


if __name__ == "__main__":
    main()
