"""The figures, as a table for people: on the terminal and in docs/performance.md."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka
import psycopg
import sqlalchemy

from benchmarks import chart, works, works_of_executors, works_with_state
from benchmarks.contest import Goal, Work
from benchmarks.runs import Result, Scale
from benchmarks.servers import Servers

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
CHART = PAGE.with_suffix(".svg")
_TIMES = "\u00d7"
_SLEEPS, _SLEEP_S = 3_000, 0.0005
_UNITS = {"rate": "records/s", "seconds": "s", "us": "µs a record", "p99_ms": "ms (p99)", "peak_mb": "MB (peak)"}
_OF_WHAT = {"cpu_us": "CPU"}


@dataclass(frozen=True, slots=True)
class Block:
    """The part of the page between two markers, the works whose figures it has, and whether a chart is drawn."""

    begin: str
    end: str
    works: tuple[Work, ...]
    chart: bool = False


FIGURES = Block("<!-- figures: written by make bench -->", "<!-- end of figures -->", works.WORKS, chart=True)
STATE = Block("<!-- state: written by make bench -->", "<!-- end of state -->", works_with_state.WORKS)
EXECUTORS = Block("<!-- executors: written by make bench -->", "<!-- end of executors -->", works_of_executors.WORKS)
PEERS = Block("<!-- peers: written by make bench-peers -->", "<!-- end of peers -->", works.PEERS)
PEERS_OF_STATE = Block(
    "<!-- peers of state: written by make bench-peers -->", "<!-- end of peers of state -->", works_with_state.PEERS
)
BLOCKS = (FIGURES, STATE, EXECUTORS, PEERS, PEERS_OF_STATE)


def whole_blocks(chosen: Collection[Work]) -> Sequence[Block]:
    """The blocks all of whose works are among these: only such are written."""
    return [block for block in BLOCKS if all(work in chosen for work in block.works)]


def facts(servers: Servers, scale: Scale) -> dict[str, str]:
    """The machine and what ran on it."""
    return {
        "Machine": (
            f"{os.cpu_count()} processors ({_processor()}), {_memory_gib():.0f} GiB, {platform.system()}; client, "
            "broker and databases share it"
        ),
        "Waking up": _waking_up(),
        "Python": f"{platform.python_version()}, confluent-kafka {confluent_kafka.__version__}, "
        f"psycopg {psycopg.__version__}, SQLAlchemy {sqlalchemy.__version__}",
        **_durability(servers),
        "Records": f"{scale.records:,} of 182 bytes of JSON with keys, lz4; {scale.runs} runs each, in turn; medians",
    }


def facts_of_peers() -> dict[str, str]:
    """Their versions, as they are pinned."""
    lock = (Path(__file__).parent / "peers" / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", lock, re.MULTILINE))
    quix = f"Quix Streams {pinned['quixstreams']} with confluent-kafka {pinned['confluent-kafka']}"
    return {"Peers": f"{quix}, Spark {pinned['pyspark']} on all processors"}


def plain(results: Sequence[Result]) -> str:
    """Fixed columns for a terminal."""
    lines = []
    for result in results:
        work = result.work
        lines.append(f"\n{work.title}")
        for contender in (work.limit, *work.contenders):
            figure = f"{result.median(contender.name):>12,.4g} {_UNITS[work.figure]}"
            cpu = f"{1e6 * result.cpu_per_record_s(contender.name):.2f} µs CPU"
            lines.append(f"  {contender.name:<36}{figure:<26}{cpu:<16}{_comparison(result, contender.name)}")
        lines += [f"  goal for {goal.contender}: {_goal(result, goal)}" for goal in work.goals]
    return "\n".join(lines)


def write(results: Sequence[Result], known: Mapping[str, str], block: Block) -> None:
    """Replace the block's figures in docs/performance.md by those of its works, and its chart."""
    results = [result for result in results if result.work in block.works]
    before, begin, rest = PAGE.read_text().partition(block.begin)
    _, end, after = rest.partition(block.end)
    assert begin and end, f"{PAGE} has lost {block.begin} or {block.end}"
    chart_line = f"![Throughput as a share of the limit]({CHART.name})\n\n" if block.chart else ""
    PAGE.write_text(f"{before}{begin}\n\n{chart_line}{_markdown(results, known)}\n{end}{after}")
    if block.chart:
        CHART.write_text(_bars(results))


def _bars(results: Sequence[Result]) -> str:
    bars = [
        (f"{work.title}: {goal.contender}" if len(work.contenders) > 1 else work.title, result.reached(goal), goal)
        for result in results
        for work in [result.work]
        for goal in work.goals
        if goal.kind == "at least"
    ]
    return chart.bars([(title, ratio, goal.value) for title, ratio, goal in bars])


def _markdown(results: Sequence[Result], known: Mapping[str, str]) -> str:
    lines = [f"- **{name}**: {value}" for name, value in known.items()]
    lines += ["", "| work | | figure | to the limit | start-up | client CPU per record | goal |"]
    lines.append("|---|---|---|---|---|---|---|")
    for result in results:
        work = result.work
        for contender in (work.limit, *work.contenders):
            name = contender.name
            goals = "; ".join(_goal(result, goal) for goal in work.goals if goal.contender == name)
            title = work.title if contender is work.limit else ""
            figure = f"{result.median(name):,.4g} {_UNITS[work.figure]}"
            start_up = f"{result.median(name, 'start_up_s'):.1f} s"
            cpu = f"{1e6 * result.cpu_per_record_s(name):.2g} µs"
            lines.append(
                f"| {title} | {name} | {figure} | {_comparison(result, name)} | {start_up} | {cpu} | {goals} |"
            )
    return "\n".join(lines) + "\n"


def _comparison(result: Result, contender: str) -> str:
    return "limit" if contender == result.work.limit.name else f"{result.ratio(contender):.2f} {_TIMES}"


def _goal(result: Result, goal: Goal) -> str:
    measured = result.reached(goal)
    if goal.kind == "below":
        text = f"≤ {goal.value:g} {_UNITS[goal.figure]}: {measured:.4g}"
    else:
        beside = "".join(f" {it}" for it in (_OF_WHAT.get(goal.figure), goal.beside) if it)
        text = f"{'≥' if goal.kind == 'at least' else '≤'} {goal.value:.2f} {_TIMES}{beside}: {measured:.2f}"
    return text + (" ✓" if goal.is_met(measured) else " (not reached)")


def _durability(servers: Servers) -> dict[str, str]:
    """What the databases say of themselves: figures of one that does not wait for its disk mean little."""
    with servers.database("postgres") as url:
        engine = sqlalchemy.create_engine(url)
        names = ("server_version", "fsync", "synchronous_commit")
        with engine.connect() as connection:
            shown = [str(connection.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in names]
        engine.dispose()
    known = {"PostgreSQL": f"{shown[0].split()[0]}, fsync {shown[1]}, synchronous_commit {shown[2]}"}
    if servers.mariadb is not None:
        ((version, flush),) = servers.mariadb.execute("SELECT VERSION(), @@innodb_flush_log_at_trx_commit")
        known["MariaDB"] = f"{version.split('-')[0]}, innodb_flush_log_at_trx_commit {flush}"
    return known


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _waking_up() -> str:
    """What the machine adds to every wait, before anything runs on it: no latency can be steadier than that."""
    took = []
    for _ in range(_SLEEPS):
        begin = time.perf_counter()
        time.sleep(_SLEEP_S)
        took.append(1e3 * (time.perf_counter() - begin))
    p50, *_, p99 = statistics.quantiles(took, n=100)[49:]
    figures = f"{p50:.2g} ms in the median, {p99:.2g} ms at p99, {max(took):.2g} ms at worst"
    return f"a sleep of {1e3 * _SLEEP_S:g} ms took {figures}"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
