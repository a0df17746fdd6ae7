"""What operators do with dead letters, as a library: count, export, replay, discard. The commands are made of this."""

from kafka_stream.admin.dead_letters.counting import LetterCount, count_letters
from kafka_stream.admin.dead_letters.discarding import discard_letters
from kafka_stream.admin.dead_letters.export import exported, to_json_line
from kafka_stream.admin.dead_letters.in_place import Attempted, InPlace, Outcome
from kafka_stream.admin.dead_letters.kafka_sender import KafkaSender
from kafka_stream.admin.dead_letters.replaying import Replaying, Sent, new_replay
from kafka_stream.admin.dead_letters.selection import keeping_letters, waiting
from kafka_stream.admin.dead_letters.sending import REPLAYED_FROM

__all__ = [
    "REPLAYED_FROM",
    "Attempted",
    "InPlace",
    "KafkaSender",
    "LetterCount",
    "Outcome",
    "Replaying",
    "Sent",
    "count_letters",
    "discard_letters",
    "exported",
    "keeping_letters",
    "new_replay",
    "to_json_line",
    "waiting",
]
