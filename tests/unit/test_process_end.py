"""However a program ends that has a stream in it, the process ends, and its stream as by ``stop()``."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.embedding import RECORDS, committed, run

STARTED = "stream.start()\nassert reading.wait(30)\n"
IN_ASYNCIO = """
import asyncio
async def main():
    {}
    await asyncio.to_thread(reading.wait)
    {}
asyncio.run(main())
"""
TO_THREAD = "running = asyncio.create_task(asyncio.to_thread(stream.run))"
INTERRUPTED = """
import _thread
def interrupt():
    reading.wait()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
"""
POOL = "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor()"
CHILD = """
import multiprocessing
def work():
    stream.start()
    assert reading.wait(30)
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""
WITHOUT_A_BATCH = "returns before the first batch"
ENDINGS = {
    "returns": (STARTED, 0),
    WITHOUT_A_BATCH: ("stream.start()", 0),
    "raises": (f"{STARTED}raise LookupError('mine')", 1),
    "exits": (f"{STARTED}sys.exit(7)", 7),
    "Ctrl-C in wait": (f"{INTERRUPTED}stream.start()\nstream.wait()", -signal.SIGINT),
    "Ctrl-C in the main's own work": (f"{INTERRUPTED}stream.start()\nread_on()", -signal.SIGINT),
    "two streams": (f"made(name='t', store='sqlite://', listeners=[]).start()\n{STARTED}", 0),
    "a thread of its own": ("threading.Thread(target=stream.run).start()\nassert reading.wait(30)", 0),
    "a pool": (f"{POOL}\npool.submit(stream.run)\nraise_when_reading(LookupError('mine'))", 1),
    "a pool that is left": (
        f"{POOL}\nwith pool:\n    pool.submit(stream.run)\n    raise_when_reading(LookupError())",
        1,
    ),
    "asyncio raises": (IN_ASYNCIO.format(TO_THREAD, "raise LookupError('mine')"), 1),
    "asyncio returns": (IN_ASYNCIO.format(TO_THREAD, "return"), 0),
    "asyncio is interrupted": (INTERRUPTED + IN_ASYNCIO.format("await asyncio.to_thread(stream.run)", ""), -2),
    "asyncio with a started stream": (IN_ASYNCIO.format("stream.start()", "raise LookupError('mine')"), 1),
    "multiprocessing": (CHILD, 0),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_process_ends_and_its_stream_is_stopped(tmp_path: Path, ending: str) -> None:
    program, status = ENDINGS[ending]
    ended = run(tmp_path, program)
    assert ended.status == status, ended.err
    assert ended.out.splitlines()[-1:] == ["ended: None"], ended.err
    if ending != WITHOUT_A_BATCH:
        rows, offset = committed(tmp_path)
        assert 0 < rows == offset


def test_a_sigterm_that_nobody_handles_ends_the_process_at_once(tmp_path: Path) -> None:
    ended = run(tmp_path, f"{STARTED}os.kill(os.getpid(), signal.SIGTERM)")
    assert ended.status == -signal.SIGTERM
    rows, offset = committed(tmp_path)
    assert rows == offset


BOUNDED = {
    "thread": "threading.Thread(target=stream.run, args=('latest',)).start()",
    "pool": f"{POOL}\nwith pool:\n    pool.submit(stream.run, 'latest')",
}


@pytest.mark.parametrize("way", BOUNDED)
def test_a_bounded_run_is_waited_for_as_any_thread_is(tmp_path: Path, way: str) -> None:
    assert run(tmp_path, BOUNDED[way]).status == 0
    assert committed(tmp_path) == (RECORDS, RECORDS)


def test_a_handler_that_never_returns_does_not_hold_the_process(tmp_path: Path) -> None:
    program = """
from kafka_stream.running import process_end
process_end.EXIT_TIMEOUT_S = 0.2
def stuck(batch, transaction):
    reading.set()
    threading.Event().wait()
stream = made(sink=stuck)
"""
    ended = run(tmp_path, program + STARTED)
    assert ended.status == 0
    assert "stream 's' did not stop within 0.2 s of the process's end, which goes on without it" in ended.err


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    program = """
def stuck(batch, transaction):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()
made(sink=stuck).run()
"""
    assert run(tmp_path, program).status == -signal.SIGTERM


# ------------------------------------------------------------------------------------------------------- after a fork

FORKED = f"""
{STARTED}
pid = os.fork()
if pid == 0:
    for use in (stream.start, stream.run, stream.stop, stream.wait, stream.status):
        try:
            use()
        except RuntimeError as error:
            print(use.__name__, error, flush=True)
    # Of its own: the locks of SQLite, and of the Kafka in memory, may be held by a thread that is not here.
    kafka = MemoryKafka({{"orders": 1}})
    kafka.produce("orders", "x")
    made(name="t", kafka=kafka, store=MemoryOffsetStore(), sink=lambda batch, transaction: None).run(until="latest")
    sys.exit(0)
print("child:", os.waitpid(pid, 0)[1], flush=True)
print("parent:", stream.status().state, stream.stop(), flush=True)
"""


def test_a_stream_that_is_used_after_a_fork_says_so(tmp_path: Path) -> None:
    ended = run(tmp_path, FORKED)
    assert ended.status == 0, ended.err
    lines = ended.out.splitlines()
    said = [line.split(" ", 1) for line in lines[:5]]
    assert [name for name, _ in said] == ["start", "run", "stop", "wait", "status"]
    assert all(
        "was forked from it and has none of its threads: start the stream after the fork" in it for _, it in said
    )
    assert lines[5:] == ["ended: None", "child: 0", "ended: None", "parent: running True"]


def test_a_stream_that_ended_before_a_fork_may_be_used_after_it(tmp_path: Path) -> None:
    program = """
stream.run(until="latest")
pid = os.fork()
if pid == 0:
    kafka.produce("orders", "x")
    print(stream.run(until="latest").records, stream.status().state, flush=True)
    sys.exit(0)
sys.exit(os.waitpid(pid, 0)[1])
"""
    ended = run(tmp_path, program)
    assert (ended.status, ended.out.splitlines()) == (0, ["ended: None", "ended: None", "1 stopped"]), ended.err


def test_a_process_that_a_handler_has_forked_can_be_ended(tmp_path: Path) -> None:
    """The signals are the stream's in the process where it runs, and nobody's in others."""
    program = """
def forking(batch, transaction):
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(told, b"x")
        time.sleep(600)
    os.read(ready, 1)
    os.kill(pid, signal.SIGTERM)
    assert os.waitpid(pid, 0)[1] == signal.SIGTERM
    write(batch, transaction)
made(sink=forking).run(until="latest")
"""
    ended = run(tmp_path, program)
    assert ended.status == 0, ended.err
    assert committed(tmp_path) == (RECORDS, RECORDS)
