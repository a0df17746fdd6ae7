from collections.abc import Callable, Mapping
from typing import Any, Literal

from quixstreams.dataframe.windows import TumblingTimeWindowDefinition
from quixstreams.models import BytesDeserializer
from quixstreams.sinks.community.postgresql import PostgreSQLSink

class Topic: ...

class State:
    def get(self, key: str) -> Any: ...
    def set(self, key: str, value: Any) -> None: ...

class StreamingDataFrame:
    def apply(
        self, func: Callable[..., Any], *, stateful: bool = False, metadata: bool = False
    ) -> StreamingDataFrame: ...
    def tumbling_window(self, duration_ms: int, grace_ms: int = 0) -> TumblingTimeWindowDefinition: ...
    def sink(self, sink: PostgreSQLSink) -> None: ...
    def to_topic(self, topic: Topic) -> StreamingDataFrame: ...

class Application:
    def __init__(
        self,
        broker_address: str,
        *,
        consumer_group: str,
        auto_offset_reset: Literal["earliest", "latest"],
        processing_guarantee: Literal["at-least-once", "exactly-once"],
        commit_every: int,
        commit_interval: float,
        consumer_extra_config: Mapping[str, Any],
        producer_extra_config: Mapping[str, Any],
        state_dir: str,
        auto_create_topics: bool,
        loglevel: str,
    ) -> None: ...
    def topic(
        self,
        name: str,
        *,
        value_deserializer: str | BytesDeserializer = "json",
        key_deserializer: str = "bytes",
        value_serializer: str = "json",
        key_serializer: str = "bytes",
    ) -> Topic: ...
    def dataframe(self, topic: Topic) -> StreamingDataFrame: ...
    def run(self, *, count: int = 0, collect: bool = True) -> list[dict[str, Any]]: ...
    def stop(self) -> None: ...

class MessageContext:
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...

def message_context() -> MessageContext: ...
