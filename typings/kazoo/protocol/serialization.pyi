from collections.abc import Sequence
from typing import NamedTuple

from kazoo.security import ACL

class Create(NamedTuple):
    path: str
    data: bytes
    acl: Sequence[ACL]
    flags: int
    def serialize(self) -> bytearray: ...

class SetData(NamedTuple):
    path: str
    data: bytes
    version: int
    def serialize(self) -> bytearray: ...

class Delete(NamedTuple):
    path: str
    version: int
    def serialize(self) -> bytearray: ...

class CheckVersion(NamedTuple):
    path: str
    version: int
    def serialize(self) -> bytearray: ...

class Transaction(NamedTuple):
    operations: Sequence[Create | SetData | Delete | CheckVersion]
    def serialize(self) -> bytearray: ...
