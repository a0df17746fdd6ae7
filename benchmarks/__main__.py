"""``python -m benchmarks [--quick] [--peers] [NAME …]``: measure, print the ratios, write docs/performance.md.

Fails only where a contender's result is wrong, never because of a time.
"""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import report, runs, servers, works, works_of_executors, works_with_state
from benchmarks.contest import PEERS_PYTHON

GROUPS = {"executors": works_of_executors.WORKS}
"""Works that may be named together."""
WORKS = (*works.WORKS, *works_with_state.WORKS, *works_of_executors.WORKS)
PEERS = (*works.PEERS, *works_with_state.PEERS)
FULL = runs.Scale(records=1_000_000, runs=5, paced_s=15.0)
QUICK = runs.Scale(records=60_000, runs=1, paced_s=3.0)


def main() -> int:
    """Measure what was asked for."""
    parser = _parser()
    arguments = parser.parse_args()
    offered = PEERS if arguments.peers else WORKS
    names = {work.name for name in arguments.names for work in GROUPS.get(name, ())}
    names |= set(arguments.names) - GROUPS.keys()
    if unknown := names - {work.name for work in offered}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if arguments.peers and not PEERS_PYTHON.exists():
        parser.error("the peers are not installed: make bench-peers does that")
    usual = QUICK if arguments.quick else FULL
    scale = runs.Scale(arguments.records or usual.records, arguments.runs or usual.runs, usual.paced_s)
    chosen = [work for work in offered if work.name in names or not names]
    if arguments.quick and not names:
        chosen = [work for work in chosen if work.figure != "peak_mb"]  # of what takes minutes, or says little of less
    blocks = report.whole_blocks(chosen) if arguments.write else ()
    if arguments.write and not blocks:
        parser.error("what is written replaces all figures that were measured together: name all of their works")
    started = time.monotonic()
    with servers.running() as up:
        facts = report.facts(up, scale) if arguments.write else {}
        try:
            results = [runs.run(work, up, scale, _tell) for work in chosen]
        except runs.WrongResult as error:
            print(f"wrong result: {error}", file=sys.stderr)
            return 1
    print(report.plain(results), f"{time.monotonic() - started:.0f} s in all", sep="\n")
    for block in blocks:
        report.write(results, facts | (report.facts_of_peers() if arguments.peers else {}), block)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    usual, of_peers = (", ".join(work.name for work in offered) for offered in (WORKS, PEERS))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {usual}, {', '.join(GROUPS)}; with --peers, of {of_peers}"
    )
    parser.add_argument("--peers", action="store_true", help="beside what users compare with (make bench-peers)")
    parser.add_argument("--quick", action="store_true", help="fewer records, one run: a look at correctness")
    parser.add_argument("--runs", type=int, help="of each contender")
    parser.add_argument("--records", type=int)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its chart")
    return parser


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
