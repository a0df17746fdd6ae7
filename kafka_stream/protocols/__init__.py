"""The ports: what the one loop needs from stores, sinks, sources and listeners, each with its promise.

Adapters depend on these modules; the engine depends on nothing else of theirs.
"""

from kafka_stream.protocols.administration import (
    Action,
    ActionKind,
    AdministeredStore,
    Change,
    Decide,
    HistoryEntry,
    TopicState,
    TopicStatus,
)
from kafka_stream.protocols.listeners import (
    BatchProgress,
    Listener,
    OffsetMirror,
)
from kafka_stream.protocols.sinks import (
    OverlappingSink,
    RangeSink,
    Sink,
)
from kafka_stream.protocols.sources import (
    Assigned,
    Buffered,
    Failed,
    Look,
    Lost,
    OffsetAt,
    PositionLost,
    Revoked,
    Source,
    SourceEvent,
    TopicInfo,
)
from kafka_stream.protocols.stores import (
    BoundStore,
    OffsetStore,
    StoreCapabilities,
    StoreTransaction,
    StreamBinding,
    TellingStore,
    WaitingStore,
)

__all__ = [
    "Action",
    "ActionKind",
    "AdministeredStore",
    "Assigned",
    "BatchProgress",
    "BoundStore",
    "Buffered",
    "Change",
    "Decide",
    "Failed",
    "HistoryEntry",
    "Listener",
    "Look",
    "Lost",
    "OffsetAt",
    "OffsetMirror",
    "OffsetStore",
    "OverlappingSink",
    "PositionLost",
    "RangeSink",
    "Revoked",
    "Sink",
    "Source",
    "SourceEvent",
    "StoreCapabilities",
    "StoreTransaction",
    "StreamBinding",
    "TellingStore",
    "TopicInfo",
    "TopicState",
    "TopicStatus",
    "WaitingStore",
]
