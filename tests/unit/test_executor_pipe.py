"""Results through a pipe, whole, however the system cuts them; a sender that goes away is missed."""

from __future__ import annotations

import threading
from multiprocessing import Pipe

import pytest

from kafka_stream.executors.pipe import receive_whole, send_whole


@pytest.mark.parametrize("size", [0, 1, 1_000, 5_000_000])
def test_what_is_received_is_what_was_sent(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    ours, theirs = Pipe()
    sending = threading.Thread(target=send_whole, args=(theirs, data))
    sending.start()
    assert receive_whole(ours, size) == data
    sending.join()
    theirs.send("next")
    assert ours.recv() == "next"
    ours.close()
    theirs.close()


def test_a_sender_that_goes_away_is_missed() -> None:
    ours, theirs = Pipe()
    send_whole(theirs, b"half")
    theirs.close()
    with pytest.raises(EOFError):
        receive_whole(ours, 8)
    ours.close()
