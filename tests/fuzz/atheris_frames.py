"""Coverage-guided fuzzing of every parser (targets.py) with atheris, for minutes or for hours; not part of `make test`.

    .venv/bin/pip install atheris
    PYTHONPATH=.:tests .venv/bin/python tests/fuzz/atheris_frames.py                         # lists the targets
    PYTHONPATH=.:tests .venv/bin/python tests/fuzz/atheris_frames.py frame:dlt645 -max_total_time=120
    PYTHONPATH=.:tests .venv/bin/python tests/fuzz/atheris_frames.py all -max_total_time=120  # one after the other

What follows the target goes to libFuzzer (-max_len=, -runs=, -rss_limit_mb=, -timeout= ...); a directory among it is
the corpus, and grows.  Without one the published frames of tests/vectors are where it begins.  The first input that
breaks a promise ends the run and is written to crash-*; `... TARGET crash-FILE` runs it again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

USUAL = ("-max_len=4096", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1")


def main(arguments: list[str]) -> int:
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: .venv/bin/pip install atheris", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["drivers"]):
        from tests.fuzz.targets import corpus, targets
    found = targets()
    if not arguments or (arguments[0] != "all" and arguments[0] not in found):
        print("\n".join(("all", *found)))
        return 2
    name, options = arguments[0], arguments[1:]
    if name == "all":
        return max(subprocess.call([sys.executable, __file__, each, *options]) for each in found)
    with tempfile.TemporaryDirectory() as folder:
        if not any(Path(option).exists() for option in options):
            for number, raw in enumerate(corpus()):
                (Path(folder) / str(number)).write_bytes(raw)
            options = [*options, folder]
        print(f"=== {name}", flush=True)
        atheris.Setup([sys.argv[0], *USUAL, *options], found[name])
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
