"""Everything a user can set, validated together, before anything is connected.

What contradicts itself, or would break exactly-once (a consumer that commits on its own), never reaches the loop.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeAlias, TypedDict

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from typing_extensions import TypeVar

from kafka_stream import setting_checks
from kafka_stream.environment import PREFIX, why_unknown_variable
from kafka_stream.errors import ConfigurationError
from kafka_stream.failures.breaker import DeadLetters
from kafka_stream.failures.strategies import EXPONENTIAL, RetryStrategy
from kafka_stream.librdkafka import meant, why_unfit
from kafka_stream.protocols import (
    Executor,
    Listener,
    OffsetStore,
    Sink,
    StreamBinding,
    WantedTopics,
    dead_letters_topic_of,
)
from kafka_stream.setting_checks import SourceFactory
from kafka_stream.types import Guarantee, TopicPartition
from kafka_stream.user_code import check_prepare, checked_sinks

SecretConfig: TypeAlias = dict[str, Any]
Bound: TypeAlias = Literal["earliest", "latest"] | datetime | Mapping[TopicPartition, int]
TransactionT = TypeVar("TransactionT", default=Any)
Write: TypeAlias = Callable[[Any, TransactionT], None]
Sinks: TypeAlias = Sink[TransactionT] | Write[TransactionT] | Sequence[Sink[TransactionT] | Write[TransactionT]]


class StreamSettings(BaseModel):
    """The settings of one stream; ``DirectStream`` takes the same names as arguments.

    ``kafka`` takes librdkafka's own names and callbacks; values that are not known to be harmless are never shown.
    Durations are in seconds, sizes in bytes (of record values). ``history_days`` is how long the store keeps what moved
    the offsets; 0 has the stream record nothing.

    ``retry`` says how often, and after which pauses, a batch is tried again for which a server was away (Kafka, the
    store, what ``transient_errors`` names). ``on_error`` says what becomes of a record that fails itself: the stream
    stops, or it is set aside within the limits of ``dead_letters``, in the batch's own transaction.

    ``group_protocol`` is how a group stream joins its group: ``"classic"``, ``"consumer"`` (KIP-848), or ``"auto"``.
    That is what the group's members use, else the consumer protocol where the brokers have it; and the classic one
    where ``kafka`` has a setting that only that has (``session.timeout.ms``, ``heartbeat.interval.ms``).

    ``group_instance_id`` makes a copy of a group stream a static member (KIP-345): started again under the same id, it
    has its partitions back at once. Each copy needs an id of its own; two with one end with ``InstanceIdInUse``.

    ``executor`` is where ``prepare`` and the sinks' conversions run: in this process without one, else on its workers
    (``ProcessExecutor(…)``, or as text: ``"processes:4"``, ``"dask://host:8786"``), which read their ranges themselves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+$")
    topics: Annotated[tuple[str, ...], BeforeValidator(setting_checks.checked_topics), NoDecode]
    kafka: Annotated[Any, BeforeValidator(setting_checks.checked_kafka)]
    store: Annotated[Any, BeforeValidator(setting_checks.checked_store)]
    prepare: Callable[[Any], Any] | None = None
    executor: Annotated[Any, BeforeValidator(setting_checks.checked_executor)] = None
    sink: Annotated[Any, BeforeValidator(checked_sinks)] = None
    start: Annotated[Any, BeforeValidator(setting_checks.checked_bound)] = "earliest"
    assignment: Annotated[str, BeforeValidator(setting_checks.checked_assignment)] = "group"
    guarantee: Guarantee = Guarantee.EXACTLY_ONCE
    group_id: str | None = Field(default=None, min_length=1)
    group_protocol: Literal["auto", "classic", "consumer"] = "auto"
    group_instance_id: str | None = Field(default=None, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")
    max_records_per_batch: int = Field(default=50_000, ge=1)
    max_records_per_partition: int | None = Field(default=None, ge=1)
    max_bytes_per_batch: int = Field(default=64 * 2**20, ge=1)
    target_batch_duration_s: float = Field(default=1.0, gt=0)
    max_rate_per_partition: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    interval_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    on_data_loss: Literal["stop", "earliest", "latest"] = "stop"
    on_error: Literal["stop", "dead-letter"] = "stop"
    dead_letters: Annotated[Any, BeforeValidator(setting_checks.checked_dead_letters)] = DeadLetters()
    retry: Annotated[Any, BeforeValidator(setting_checks.checked_retry)] = EXPONENTIAL
    transient_errors: Annotated[Any, BeforeValidator(setting_checks.checked_transient_errors)] = ()
    history_days: float = Field(default=30, ge=0, le=36_500)
    listeners: Annotated[tuple[Any, ...], BeforeValidator(setting_checks.checked_listeners)] = ()
    code_version: str | None = None

    @model_validator(mode="after")
    def _check_isolation(self) -> Self:
        if isinstance(self.kafka, Mapping):
            isolation = self.kafka.get("isolation.level", "read_committed")
            if isolation != "read_committed" and self.guarantee is not Guarantee.AT_LEAST_ONCE:
                raise ValueError(
                    "kafka setting 'isolation.level' below read_committed reads records of aborted transactions: "
                    "leave it out, or say so with guarantee='at-least-once'"
                )
        return self

    @model_validator(mode="after")
    def _check_group_protocol(self) -> Self:
        unfit = why_unfit(self.group_protocol, self.kafka) if isinstance(self.kafka, Mapping) else None
        if unfit is not None:
            raise ValueError(f"kafka setting {unfit}")
        return self

    @model_validator(mode="after")
    def _check_instance(self) -> Self:
        if self.group_instance_id is not None and self.assignment != "group":
            raise ValueError(
                f"group_instance_id has no effect with assignment={self.assignment!r}: leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _check_prepare(self) -> Self:
        check_prepare(self.prepare, self.sink)
        return self

    @model_validator(mode="after")
    def _check_dead_letters(self) -> Self:
        if self.on_error == "stop" and "dead_letters" in self.model_fields_set:
            raise ValueError('dead_letters has no effect with on_error="stop": give on_error="dead-letter" as well')
        return self

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        for tp in self.start if isinstance(self.start, Mapping) else ():
            if tp.topic not in WantedTopics.of(self.topics):
                raise ValueError(f"start names {tp}, which is of none of the topics {', '.join(self.topics)}")
        return self

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """The settings, or one sentence about what is wrong with them.

        Raises:
            ConfigurationError: a value is missing, unknown, contradictory or dangerous; secrets are not shown.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigurationError(_sentence(error)) from error

    @classmethod
    def from_env(cls, prefix: str = PREFIX, *, secrets_dir: str | Path | None = None, **values: Any) -> StreamSettings:
        """Settings from variables such as ``KAFKA_STREAM_NAME`` or ``KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS``.

        ``secrets_dir`` is a folder with one file per variable, as Docker and Kubernetes mount secrets. ``values`` (a
        sink, say) go before both. A variable that begins with ``KAFKA_STREAM_`` and is none that there is, is refused;
        with another ``prefix`` there may be others beside it.

        Raises:
            ConfigurationError: as in ``checked``.
        """

        class FromEnv(BaseSettings, StreamSettings):
            model_config = SettingsConfigDict(
                env_prefix=prefix,
                env_nested_delimiter="__",
                secrets_dir=secrets_dir,
                extra="ignore",
                hide_input_in_errors=True,
            )
            kafka: Annotated[dict[str, Any] | SourceFactory, BeforeValidator(setting_checks.checked_kafka_variables)]

            @classmethod
            def settings_customise_sources(
                cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: Any
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                """Folders of secrets with nested names too: ``kafka_stream_kafka__sasl_password``."""
                secrets = NestedSecretsSettingsSource(named["file_secret_settings"])
                return named["init_settings"], named["env_settings"], secrets

        if secrets_dir is not None and not Path(secrets_dir).is_dir():
            raise ConfigurationError(f"secrets_dir: {str(secrets_dir)!r} is not a folder; mount the secrets there")
        files = () if secrets_dir is None else (file.name for file in Path(secrets_dir).iterdir())
        unknown = why_unknown_variable([*os.environ, *files], cls.model_fields) if prefix == PREFIX else None
        if unknown is not None:
            raise ConfigurationError(unknown)
        try:
            found = FromEnv.checked(values)
        except SettingsError as error:
            raise ConfigurationError(f"a variable cannot be read: {error}") from error
        return StreamSettings.checked({k: getattr(found, k) for k in found.model_fields_set})

    def __getstate__(self) -> dict[Any, Any]:
        """The settings for another process; the secrets go with them, in clear."""
        for name in sorted(self.model_fields_set):
            try:
                pickle.dumps(getattr(self, name))
            except Exception as error:
                raise TypeError(
                    f"the settings of stream {self.name!r} cannot be sent to another process because of {name}: {error}"
                    "; give a function at the top of a module, a store's URL, … or build the stream over there"
                ) from error
        return super().__getstate__()

    def binding(self, bounded_by: Any = None) -> StreamBinding:
        """What a store that lives in Kafka is told; a bounded run owns all partitions itself."""
        static = "static" if self.assignment == "group" else self.assignment
        return StreamBinding(
            stream=self.name,
            group_id=self.group_id or self.name,
            kafka={} if isinstance(self.kafka, SourceFactory) else self.kafka_config(),
            shard=None if self.assignment == "group" and bounded_by is None else static,
            dead_letters_topic=(
                None if self.on_error == "stop" else self.dead_letters.topic or dead_letters_topic_of(self.name)
            ),
        )

    def kafka_config(self) -> dict[str, Any]:
        """The settings for librdkafka with the secrets uncovered: for the client only, never for printing."""
        return {key: setting_checks.uncovered(value) for key, value in self.kafka.items()}


class StreamOptions(TypedDict, Generic[TransactionT], total=False):
    """The keyword arguments of ``DirectStream``, for type checkers; ``StreamSettings`` says what they mean.

    ``TransactionT`` ties the store's transaction to what the sinks need. It is inferred at each call: ``Any``, so that
    nothing is refused, where one of them does not tell (a URL, a function without annotations).
    """

    name: str
    topics: Sequence[str]
    kafka: Mapping[str, Any] | SourceFactory
    store: OffsetStore[TransactionT] | str | SecretStr
    prepare: Callable[[Any], Any] | None
    executor: Executor | str | None
    sink: Sinks[TransactionT]
    start: Bound
    assignment: str
    guarantee: Guarantee | str
    group_id: str | None
    group_protocol: str
    group_instance_id: str | None
    max_records_per_batch: int
    max_records_per_partition: int | None
    max_bytes_per_batch: int
    target_batch_duration_s: float
    max_rate_per_partition: float | None
    interval_s: float | None
    on_data_loss: str
    on_error: str
    dead_letters: DeadLetters
    retry: RetryStrategy
    transient_errors: Sequence[type[BaseException]]
    history_days: float
    listeners: Sequence[Listener]
    code_version: str | None


def checked_bound(bound: Any, what: str) -> Any:
    """An ``until=`` (or ``start=``) that is well formed.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        return setting_checks.checked_bound(bound)
    except ValueError as error:
        raise ConfigurationError(f"{what}: {error}") from error


def _sentence(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        what = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            what = "is missing"
        elif problem["type"] == "extra_forbidden":
            what = f"is not a setting of a stream{meant(where, StreamSettings.model_fields)}"
        problems.append(f"{where}: {what}" if where else what)
    return "; ".join(problems)
