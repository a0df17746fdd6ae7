"""``kafka-stream schema``: a SQL store's tables, for those who migrate by hand."""

from __future__ import annotations

import sys
from typing import Protocol, runtime_checkable

import typer

from kafka_stream.cli.options import AppOption, StoreOption
from kafka_stream.cli.precedence import store_beside, telling_variables

schema = typer.Typer(no_args_is_help=True, help="The tables in which a SQL store keeps its offsets.")


@runtime_checkable
class HasSchema(Protocol):
    """A store whose positions are in tables."""

    def schema_sql(self) -> str:
        """The statements that create what is missing, in the database's dialect."""

    def apply_schema(self) -> None:
        """Run them."""

    def check_schema(self) -> None:
        """Raise ``SchemaMismatch`` unless the tables are there and of a version that works with this one."""

    def describe(self) -> str:
        """Where the tables are, without secrets."""

    def close(self) -> None:
        """Give the connections back."""


@schema.command(epilog="Example: kafka-stream schema sql --store postgresql://app@db/shop > offsets.sql")
def sql(context: typer.Context, store: StoreOption = None, app: AppOption = None) -> None:
    """Print the SQL that creates the tables; changes nothing."""
    sys.stdout.write(_tables(context, store, app).schema_sql().rstrip() + "\n")


@schema.command(epilog="Example: kafka-stream schema apply --store sqlite:///orders.db")
def apply(context: typer.Context, store: StoreOption = None, app: AppOption = None) -> None:
    """Create the tables, or bring them to this version; may be run again."""
    found = _tables(context, store, app)
    try:
        found.apply_schema()
        found.check_schema()
    finally:
        found.close()
    sys.stdout.write(f"The tables in {found.describe()} are up to date.\n")


@schema.command(epilog="Example: kafka-stream schema check --app app:stream")
def check(context: typer.Context, store: StoreOption = None, app: AppOption = None) -> None:
    """Compare the tables with what this version needs; changes nothing. Exit status 2 if they do not fit."""
    found = _tables(context, store, app)
    try:
        found.check_schema()
    finally:
        found.close()
    sys.stdout.write(f"The tables in {found.describe()} fit this version.\n")


def _tables(context: typer.Context, url: str | None, app: str | None) -> HasSchema:
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.loading import load_stream
    from kafka_stream.plugins import store_from_url

    if app is not None:
        stream = load_stream(app)
        with telling_variables(context):
            url = store_beside(stream, url, app)
        store = stream.store if url is None else store_from_url(url)
    elif url is not None:
        store = store_from_url(url)
    else:
        raise ConfigurationError("say which tables: --store URL or --app MODULE:STREAM")
    if not isinstance(store, HasSchema):
        raise ConfigurationError(f"{store.describe()} keeps its offsets in no tables, so there is no schema")
    return store


__all__ = ["HasSchema", "schema"]
