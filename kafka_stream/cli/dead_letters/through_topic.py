"""``replay --through-topic``, ``--resume`` and ``--abandon``: letters as records of a topic again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import IO, TYPE_CHECKING

from kafka_stream.cli.dead_letters.rows import LESS_IMPORTANT_OF_PLANS, REPLAY_FIELDS, replay_rows
from kafka_stream.cli.dead_letters.selection import letters_of, wanted
from kafka_stream.cli.offsets.confirmation import confirm_on_terminal
from kafka_stream.cli.offsets.rows import Row
from kafka_stream.cli.offsets.target import Target, connected
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.admin.dead_letters.replaying import Replaying, Sent
    from kafka_stream.cli.dead_letters.ways import ReplayOptions
    from kafka_stream.protocols import DeadLetterStore, LetterId, Replay


def replay_through_topic(options: ReplayOptions) -> None:
    """Send the letters that wait, after those of a replay that is under way."""
    from kafka_stream.admin.dead_letters.replaying import new_replay
    from kafka_stream.admin.dead_letters.selection import waiting

    filters = wanted(options)
    with connected(options) as target:
        store = letters_of(target)
        letters = waiting(store, target.stream, filters)
        under_way = store.replay_under_way(target.stream)
        _show(options, replay_rows(letters, options.into), target, under_way)
        if not options.execute or not (letters or under_way):
            _say_why_nothing(options, is_there=bool(letters or under_way))
            return
        _refuse_disorder(target, letters, options.into)
        where = options.into or "the topics that they come from"
        confirm_on_terminal(f"Send {len(letters)} letter(s) of {target.stream!r} to {where}?", yes=options.yes)
        with _replaying(target, store, options) as work:
            finished = work.resume()
            if finished is not None:
                _tell_finished(finished)
                letters = waiting(store, target.stream, filters)
            done = work.run(new_replay(letters, options.into))
    _report(options, done, finished)


def end_under_way(options: ReplayOptions) -> None:
    """Finish, or abandon, what is under way."""
    with connected(options) as target:
        store = letters_of(target)
        under_way = store.replay_under_way(target.stream)
        if under_way is None:
            _people(options).write("No replay is under way; nothing was changed.\n")
            if options.output is not Output.TABLE:
                print_rows([], options.output, fields=REPLAY_FIELDS)
            return
        _show(options, replay_rows(under_way.letters, under_way.destination), target, under_way)
        if not options.execute:
            _say_why_nothing(options, is_there=True)
            return
        what = "Finish" if options.resume else "Abandon"
        confirm_on_terminal(f"{what} replay {under_way.id} of stream {target.stream!r}?", yes=options.yes)
        with _replaying(target, store, options) as work:
            done = work.resume() if options.resume else work.abandon()
    if done is None:
        _people(options).write("Another command has ended it meanwhile; nothing was changed.\n")
    else:
        _report(options, done)


@contextmanager
def _replaying(target: Target, store: DeadLetterStore, options: ReplayOptions) -> Iterator[Replaying]:
    """What does it; if it fails half-way, that is said."""
    from kafka_stream.admin.dead_letters.kafka_sender import KafkaSender
    from kafka_stream.admin.dead_letters.replaying import Replaying
    from kafka_stream.errors import KafkaStreamError

    with closing(KafkaSender(target.cluster(), target.kafka, target.group_id)) as sender:
        try:
            yield Replaying(store, target.stream, sender, assume_sent=options.sent, returns=_may_keep_order(target))
        except KafkaStreamError:
            with suppress(KafkaStreamError):
                if (left := store.replay_under_way(target.stream)) is not None:
                    sys.stderr.write(
                        f"warning: replay {left.id} is under way, and a part of it may be sent: go on with "
                        "--resume, or end it with --abandon\n"
                    )
            raise


def _may_keep_order(target: Target) -> bool:
    """Whether the stream keeps the order of keys, as far as that is known: else what is sent has to be taken so."""
    application = target.application
    return application is None or application.settings.dead_letters.keep_key_order


def _refuse_disorder(target: Target, letters: Sequence[LetterId], into: str | None) -> None:
    """A key's order is kept within its partition: in another topic of the stream nothing would wait for it."""
    from kafka_stream.protocols import WantedTopics

    if target.application is None or not _may_keep_order(target) or into not in WantedTopics.of(target.topics):
        return
    if other := next((one for one in letters if one.topic != into), None):
        from kafka_stream.errors import CommandRefused

        raise CommandRefused(
            f"stream {target.stream!r} keeps the order of keys, and reads topic {into!r}, too: {other} would come "
            f"there in no order with later records of topic {other.topic!r}; replay it through its own topic, or in "
            "place"
        )


def _show(options: ReplayOptions, rows: Sequence[Row], target: Target, under_way: Replay | None) -> None:
    """The plan, where it is wanted, and what comes before it."""
    if not options.execute or options.output is Output.TABLE:
        if rows or options.output is not Output.TABLE:
            title = f"letters of {target.stream} in {target.store.describe()} to be replayed"
            print_rows(rows, options.output, title, fields=REPLAY_FIELDS, less_important=LESS_IMPORTANT_OF_PLANS)
        if under_way is not None:
            what = f"replay {under_way.id} of {len(under_way.letters)} letter(s) has begun and not ended"
            first = "; it is finished first" if options.through_topic else ""
            _people(options).write(f"! {what}{first}\n")


def _say_why_nothing(options: ReplayOptions, *, is_there: bool) -> None:
    what = "Nothing was changed; add --execute to do it." if is_there else "No letter that waits is meant."
    _people(options).write(f"{what}\n")
    if not is_there and options.execute and options.output is not Output.TABLE:
        print_rows([], options.output, fields=REPLAY_FIELDS)


def _tell_finished(finished: Sent) -> None:
    sys.stderr.write(
        f"warning: replay {finished.replay.id}, which had begun before, was finished first: {finished.sent} of its "
        f"{len(finished.replay.letters)} letter(s) are sent\n"
    )


def _report(options: ReplayOptions, done: Sent, before: Sent | None = None) -> None:
    every = [each for each in (before, done) if each is not None and each.letters]
    if options.output is not Output.TABLE:
        rows = [row for each in every for row in replay_rows(each.letters, each.replay.destination)]
        print_rows(rows, options.output, fields=REPLAY_FIELDS)
    elif options.abandon:
        waits = len(done.replay.letters) - done.sent
        sys.stdout.write(f"The replay was ended: {done.sent} letter(s) are sent, {waits} wait again.\n")
    else:
        sys.stdout.write(f"{sum(each.sent for each in every)} letter(s) were sent.\n")


def _people(options: ReplayOptions) -> IO[str]:
    """Where sentences go: beside what programs read."""
    return sys.stdout if options.output is Output.TABLE else sys.stderr


__all__ = ["end_under_way", "replay_through_topic"]
