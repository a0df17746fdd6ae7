from collections.abc import Callable

class Task:
    def __init__(self, key: str, func: Callable[..., object]) -> None: ...
