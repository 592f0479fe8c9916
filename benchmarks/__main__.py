"""Run all benchmarks, or the named ones: python -m benchmarks [extraction] [first_call] [loading] [metadata]."""

from __future__ import annotations

import sys

from benchmarks import extraction, first_call, loading, metadata
from benchmarks.tools import server

ALL = {"extraction": extraction, "first_call": first_call, "loading": loading, "metadata": metadata}


def main(names: list[str]) -> None:
    unknown = set(names) - set(ALL)
    if unknown:
        sys.exit(f"No benchmark {', '.join(sorted(unknown))}; there are: {', '.join(ALL)}")
    with server() as cluster:
        for name in names or ALL:
            print(f"\n{name}: {ALL[name].__doc__.splitlines()[0]}", flush=True)
            ALL[name].run(cluster)


if __name__ == "__main__":
    main(sys.argv[1:])
