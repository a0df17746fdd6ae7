from typing import Any

class BytesDeserializer:
    def __call__(self, value: bytes, ctx: Any) -> bytes: ...
