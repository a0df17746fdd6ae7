"""Kazoo's errors into the library's tree: by type, which is ZooKeeper's error code; their texts say nothing."""

from __future__ import annotations

from kazoo import exceptions as kazoo
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.serialization import Create, Delete, SetData

from kafka_stream.errors import (
    ConfigurationError,
    KafkaStreamError,
    NotAuthorized,
    ProcessingError,
    StoreUnavailable,
)
from kafka_stream.offset_stores.zookeeper.operations import Step
from kafka_stream.protocols.causes import causes

UNANSWERED = (
    kazoo.ConnectionDropped,
    kazoo.ConnectionLoss,
    kazoo.NewConfigNoQuorumError,
    kazoo.NotReadOnlyCallError,
    kazoo.OperationTimeoutError,
    kazoo.RequestTimeoutError,
    kazoo.SessionExpiredError,
    kazoo.SessionMovedError,
    kazoo.ThrottledOpError,
    KazooTimeoutError,
)
"""The server did not answer, or not now: it may work the next time, and may have worked this time."""

CHANGED_MEANWHILE = (kazoo.BadVersionError, kazoo.NodeExistsError, kazoo.NoNodeError)
"""Something is not as it was when it was read."""

_REFUSED = (
    kazoo.AuthFailedError,
    kazoo.InvalidACLError,
    kazoo.NoAuthError,
    kazoo.SessionClosedRequireSaslError,
)


def mapped(error: BaseException, doing: str, where: str) -> KafkaStreamError:
    """The library's error for what one of the store's own requests ran into."""
    if isinstance(error, KafkaStreamError):
        return error
    name = type(error).__name__
    if isinstance(error, UNANSWERED):
        return StoreUnavailable(f"{where} did not answer while {doing}: {name}")
    if isinstance(error, _REFUSED):
        return NotAuthorized(f"{where} refused us while {doing}: {name}; check the credentials and the znodes' ACLs")
    return ConfigurationError(f"{where} failed while {doing}: {name}{f' ({error})' if str(error) else ''}")


_WHY_NOT: dict[type[Exception], str] = {
    kazoo.BadVersionError: "it has another version",
    kazoo.NoNodeError: "there is no such znode, or none above it",
    kazoo.NodeExistsError: "there is such a znode already",
    kazoo.NotEmptyError: "there are znodes below it",
    kazoo.QuotaExceededError: "a quota would be exceeded",
}


def blames_records(error: BaseException) -> bool:
    """Whether an error of user code may be about a record: one of a kazoo client is, if an operation did not apply."""
    for cause in causes(error):
        if isinstance(cause, kazoo.KazooException | KazooTimeoutError):
            return isinstance(cause, tuple(_WHY_NOT))
    return True


def why_refused(step: Step, error: Exception, chroot: str, where: str) -> KafkaStreamError:
    """The library's error for what one of the handler's operations ran into."""
    kind = {Create: "create", SetData: "set", Delete: "delete"}[type(step.operation)]
    doing = f"{kind} the znode {step.operation.path.removeprefix(chroot)}"
    if isinstance(error, (*UNANSWERED, *_REFUSED)):
        return mapped(error, f"asked to {doing}", where)
    if not step.is_certain and isinstance(error, CHANGED_MEANWHILE):
        return StoreUnavailable(f"{where} could not {doing}, which was changed while the batch committed")
    why = _WHY_NOT.get(type(error), type(error).__name__)
    return ProcessingError(f"{where} refused to {doing}: {why}; nothing of the batch was committed")


def why_not_kept(error: Exception, stream: str, where: str) -> KafkaStreamError:
    """The library's error for what one of the dead letters' operations ran into."""
    if isinstance(error, CHANGED_MEANWHILE):
        return StoreUnavailable(
            f"dead letters of stream {stream!r} in {where} were changed while the batch committed, so nothing was"
        )
    return mapped(error, "keeping dead letters", where)


__all__ = ["CHANGED_MEANWHILE", "UNANSWERED", "blames_records", "mapped", "why_not_kept", "why_refused"]
