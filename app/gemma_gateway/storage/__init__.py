"""The store: Redis or Valkey, and what can be built on it without knowing what is kept there."""

from gemma_gateway.storage.connection import (
    Argument,
    Prepared,
    ReplyError,
    Script,
    StoreError,
    lua,
    prepare,
)
from gemma_gateway.storage.lease import Lease
from gemma_gateway.storage.outbox import Outbox
from gemma_gateway.storage.redis import Store
from gemma_gateway.storage.write_behind import Batch, WriteBehind

__all__ = [
    "Argument",
    "Batch",
    "Lease",
    "Outbox",
    "Prepared",
    "ReplyError",
    "Script",
    "Store",
    "StoreError",
    "WriteBehind",
    "lua",
    "prepare",
]
