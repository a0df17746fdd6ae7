"""What operators do with offsets, as a library: pure plans, and what applies them. The commands are made of this."""

from kafka_stream.admin.mirror import GroupOffsetMirror

__all__ = ["GroupOffsetMirror"]
