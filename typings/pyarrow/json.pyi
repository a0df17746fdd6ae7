from typing import IO

from pyarrow import Schema, Table

class ParseOptions:
    def __init__(
        self, explicit_schema: Schema, newlines_in_values: bool = False, unexpected_field_behavior: str = "infer"
    ) -> None: ...

def read_json(input_file: IO[bytes], parse_options: ParseOptions | None = None) -> Table: ...
