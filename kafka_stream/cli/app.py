"""``kafka-stream``: the console script."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from kafka_stream.cli.dead_letters import dead_letters
from kafka_stream.cli.demo.command import demo
from kafka_stream.cli.exit_status import ExitStatus, report
from kafka_stream.cli.offsets import offsets
from kafka_stream.cli.options import refuse_unknown_variables, refuse_what_is_no_text, warn_about_secrets
from kafka_stream.cli.output import was_written, with_streams
from kafka_stream.cli.run import run
from kafka_stream.cli.schema import schema
from kafka_stream.cli.settings import settings
from kafka_stream.cli.state import state, windows
from kafka_stream.cli.top import top
from kafka_stream.cli.ui import ui
from kafka_stream.cli.version import show_version

app = typer.Typer(
    name="kafka-stream",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Exactly-once batches from Kafka into the database you already run.",
    epilog="See it survive: kafka-stream demo",
)
app.command(epilog="Example: kafka-stream demo --bootstrap-servers localhost:9092 --store postgresql://localhost/test")(
    demo
)
app.command(epilog="Example: kafka-stream run app:stream --until latest")(run)
app.add_typer(offsets, name="offsets")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(state, name="state")
app.command(epilog="Example: kafka-stream windows --app shop:stream --state visits")(windows)
app.add_typer(schema, name="schema")
app.command(epilog="Example: kafka-stream top --store sqlite:///orders.db --stream orders")(top)
app.command(epilog="Example: kafka-stream ui --store sqlite:///orders.db --kafka bootstrap.servers=localhost:9092")(ui)
app.command(epilog="Example: kafka-stream settings --output json")(settings)
app.command("version", epilog="Example: kafka-stream version --output json")(show_version)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit status; a user's mistake is one sentence on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    with_streams()
    warn_about_secrets(given)
    status = _status(given)
    sys.exit(status if was_written() or status else ExitStatus.FAILED)


def _status(arguments: Sequence[str]) -> int:
    try:
        refuse_what_is_no_text(arguments)
        if "--help" not in arguments:
            refuse_unknown_variables()
        app(args=arguments, prog_name="kafka-stream")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as error:  # noqa: BLE001 - reported, with its traceback where it is not a user's mistake
        return report(error)
    return 0


__all__ = ["app", "main"]
