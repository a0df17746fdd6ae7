"""``kafka-stream dead-letters``: records that were set aside: look at them, put them back, give them up."""

from __future__ import annotations

import typer

from kafka_stream.cli.dead_letters import discard, export, listing, replay, show, stats

dead_letters = typer.Typer(no_args_is_help=True, help="Records that were set aside: look at them, put them back.")
_ORDERS = "--store sqlite:///orders.db --stream orders"


def _example(command: str) -> str:
    return f"Example: kafka-stream dead-letters {command}"


dead_letters.command("list", epilog=_example(f"list {_ORDERS} --status waiting --since PT24H"))(listing.list_)
dead_letters.command(epilog=_example(f"show {_ORDERS} --topic orders --partition 3 --offset 4711"))(show.show)
dead_letters.command(epilog=_example("replay --app shop:stream --error BadOrder --through-topic --execute"))(
    replay.replay
)
dead_letters.command(epilog=_example("discard --app shop:stream --key 0x00ff --note 'test data' --execute"))(
    discard.discard
)
dead_letters.command(epilog=_example(f"export {_ORDERS} letters.jsonl"))(export.export)
dead_letters.command(epilog=_example("stats --app shop:stream --output json"))(stats.stats)

__all__ = ["dead_letters"]
