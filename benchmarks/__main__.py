"""Runs the benchmarks that are named, or those whose numbers README quotes."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
from pathlib import Path

HERE = Path(__file__).parent
TARGETED = ("client", "serving")
# The others take hours in all, or need environments of their own.
IN_README = ("training", "training_rivals", "export", "client", "client_rivals", "solve")


def main() -> None:
    known = sorted(module.name for module in pkgutil.iter_modules([str(HERE)]) if not module.name.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; by default {', '.join(IN_README)}"
    )
    parser.add_argument("--write", action="store_true", help="write JSON and Markdown to benchmarks/results, too")
    parser.add_argument("--data", metavar="DIR", help="directory of public data sets, such as bermudan_5f")
    parser.add_argument(
        "--target",
        nargs=2,
        metavar=("ADDRESS", "MODEL"),
        help="measure calls of this server: for `client` and `serving`",
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"unknown benchmark {unknown[0]!r}, expected one of {', '.join(known)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter would stand among the rows
    if options.data is not None:
        os.environ["GRADWIRE_BENCH_DATA"] = options.data
    if options.target is not None:
        if len(options.names) != 1 or options.names[0] not in TARGETED:
            parser.error(
                "--target is for one of `client` and `serving`: python -m benchmarks client --target localhost:8500 log"
            )
        importlib.import_module(f"benchmarks.{options.names[0]}").against(*options.target, write=options.write)
        return
    for name in options.names or IN_README:
        importlib.import_module(f"benchmarks.{name}").main(write=options.write)


if __name__ == "__main__":
    main()
