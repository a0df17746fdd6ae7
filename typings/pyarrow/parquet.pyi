from collections.abc import Sequence
from os import PathLike
from typing import IO

from pyarrow import BufferOutputStream, BufferReader, Table

def write_table(table: Table, where: BufferOutputStream | IO[bytes], *, compression: str = "snappy") -> None: ...
def read_table(source: str | PathLike[str] | BufferReader, *, columns: Sequence[str] | None = None) -> Table: ...
