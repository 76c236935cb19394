"""A comm that sends nothing and remembers everything: what a widget would put on the wire."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comm
from comm.base_comm import BaseComm


class FakeComm(BaseComm):
    """Takes messages as the kernel's comm does. `messages` are (data, buffers), in order, of all comms."""

    messages: list[tuple[dict[str, Any], list[Any]]]

    def publish_msg(
        self,
        msg_type,  # noqa: ARG002
        data=None,
        metadata=None,  # noqa: ARG002
        buffers=None,
        **keys,  # noqa: ARG002
    ) -> None:
        """Remembers a message."""
        self.messages.append((data or {}, list(buffers or [])))


@contextmanager
def recorded() -> Iterator[list[tuple[dict[str, Any], list[Any]]]]:
    """While it is open, widgets are made with fake comms; gives the list that their messages go to."""
    messages: list[tuple[dict[str, Any], list[Any]]] = []

    def create(*args: Any, **keys: Any) -> FakeComm:
        made = type("Recorder", (FakeComm,), {"messages": messages})
        return made(*args, **keys)

    original = comm.create_comm
    comm.create_comm = create
    try:
        yield messages
    finally:
        comm.create_comm = original


def size_of(message: tuple[dict[str, Any], list[Any]]) -> int:
    """The bytes of a message: its JSON and its buffers."""
    data, buffers = message
    return len(json.dumps(data, default=str)) + sum(len(memoryview(buffer).cast("B")) for buffer in buffers)
