"""``kafka-stream offsets``: a stream's stored offsets: look at them, move them, take them elsewhere."""

from __future__ import annotations

import typer

from kafka_stream.cli.offsets import deletion, describe, history, mirror, reset, streams, transfer, undo

offsets = typer.Typer(no_args_is_help=True, help="A stream's stored offsets: look at them, move them.")
_ORDERS = "--store sqlite:///orders.db --stream orders"
_BROKER = "--kafka bootstrap.servers=localhost:9092"


def _example(command: str) -> str:
    return f"Example: kafka-stream offsets {command}"


offsets.command(epilog=_example(f"streams --store sqlite:///orders.db {_BROKER}"))(streams.streams)
offsets.command(epilog=_example(f"describe {_ORDERS} {_BROKER}"))(describe.describe)
offsets.command(epilog=_example("reset --app shop:stream --topic orders:0-3 --to-datetime 2026-01-31T08:00 --execute"))(
    reset.reset
)
offsets.command(epilog=_example("delete --app shop:stream --yes"))(deletion.delete)
offsets.command(epilog=_example(f"export {_ORDERS} > orders.json"))(transfer.export)
offsets.command("import", epilog=_example(f"import {_ORDERS} orders.json"))(transfer.import_)
offsets.command(
    epilog=_example("migrate --stream orders --from sqlite:///orders.db --to zookeeper://localhost:2181/shop --fence")
)(transfer.migrate)
offsets.command(epilog=_example(f"mirror {_ORDERS} {_BROKER}"))(mirror.mirror)
offsets.command(epilog=_example("history --app shop:stream --limit 50"))(history.history)
offsets.command(epilog=_example("undo --app shop:stream"))(undo.undo)

__all__ = ["offsets"]
