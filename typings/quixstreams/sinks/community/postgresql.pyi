class PostgreSQLSink:
    def __init__(
        self,
        host: str,
        port: int,
        dbname: str,
        user: str,
        password: str,
        table_name: str,
        *,
        schema_auto_update: bool = True,
        on_conflict_do_nothing: bool = False,
        include_metadata: bool = True,
    ) -> None: ...
