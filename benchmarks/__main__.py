"""Run all benchmarks, or the named ones: python -m benchmarks [--dsn DSN] [extraction] [first_call] …"""

from __future__ import annotations

import argparse

from benchmarks import (
    classification,
    clusters,
    extraction,
    first_call,
    inference,
    loading,
    metadata,
    neighbors,
    user_models,
    votes,
)
from benchmarks.tools import server

ALL = {
    "extraction": extraction,
    "first_call": first_call,
    "inference": inference,
    "classification": classification,
    "loading": loading,
    "metadata": metadata,
    "neighbors": neighbors,
    "clusters": clusters,
    "votes": votes,
    "user_models": user_models,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure speed against peers.")
    parser.add_argument("--dsn", help="Use a database of its own on this server, as its superuser.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Which: {', '.join(ALL)}; default: all.")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(ALL)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(ALL)}")
    with server(arguments.dsn) as bench:
        for name in arguments.names or ALL:
            print(f"\n{name}: {ALL[name].__doc__.splitlines()[0]}", flush=True)
            ALL[name].run(bench)


if __name__ == "__main__":
    main()
