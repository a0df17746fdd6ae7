"""``dead-letters replay``: putting letters back, through a topic or where they are."""

from __future__ import annotations

from dataclasses import replace

from kafka_stream.cli.dead_letters import in_place, through_topic
from kafka_stream.cli.dead_letters.ways import ReplayOptions, refuse_contradictions
from kafka_stream.cli.option_classes import takes


@takes(ReplayOptions)
def replay(options: ReplayOptions) -> None:
    """Put back letters that wait; prints the plan and changes nothing unless --execute.

    --through-topic sends them as they were, in order, with a header more, each
    once: the transaction that sends letters keeps how many were sent. If it is
    killed, do it again (or --resume): what is under way is finished first.

    --in-place runs the application's own prepare and sinks on each letter, its
    result and its new status in one transaction. A letter that fails again
    stays, and so do later ones with its key; the exit status is 1 then.
    """
    refuse_contradictions(options)
    if options.in_place is not None:
        in_place.replay_in_place(replace(options, app=options.in_place))
    elif options.through_topic:
        through_topic.replay_through_topic(options)
    else:
        through_topic.end_under_way(options)


__all__ = ["replay"]
