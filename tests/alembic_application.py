"""An application that migrates with Alembic, as its template makes one."""

from __future__ import annotations

import io
import re
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

OPERATING = Path(__file__).parents[1] / "docs" / "operating.md"

_ENVIRONMENT = """
from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, create_engine

from kafka_stream.offset_stores.sql import define_tables

metadata = MetaData()
Table("orders", metadata, Column("id", Integer, primary_key=True))
{code}
engine = create_engine({url!r})
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True, **options)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""


class AlembicApplication:
    """``code`` goes into its env.py, and may set ``options`` of ``context.configure``."""

    def __init__(self, folder: Path, url: str, code: str) -> None:
        self.scripts = folder / "migrations"
        self._config = Config(folder / "alembic.ini", stdout=io.StringIO())
        self._config.set_main_option("script_location", str(self.scripts))
        self._config.set_main_option("path_separator", "os")
        command.init(self._config, str(self.scripts))
        full = make_url(url).render_as_string(hide_password=False)
        environment = _ENVIRONMENT.format(url=full, code=f"options = {{}}\n{code}")
        (self.scripts / "env.py").write_text(environment)

    def generate(self) -> str:
        """Have the next migration written, and return it; it is run as it is."""
        command.revision(self._config, autogenerate=True)
        (written,) = set((self.scripts / "versions").glob("*.py"))
        command.upgrade(self._config, "head")
        return written.read_text()

    def check(self) -> None:
        """Raise if another migration would be proposed."""
        command.check(self._config)


def recipe() -> str:
    """What docs/operating.md tells those to write whose tables the store creates."""
    (found,) = re.findall(r"```python\n(def include_name.*?)\n```", OPERATING.read_text(), re.DOTALL)
    code, _, call = found.partition("\ncontext.configure(")
    assert call == "..., include_name=include_name)"
    return f"{code}\noptions = {{'include_name': include_name}}"
