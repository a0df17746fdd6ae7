from typing import Generic, TypeVar

T = TypeVar("T")

class IAsyncResult(Generic[T]):
    def get(self, block: bool = ..., timeout: float | None = ...) -> T: ...
