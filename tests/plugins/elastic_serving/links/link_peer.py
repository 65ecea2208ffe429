"""A process at the other end of a link: answers each `echo`, and does what its second argument says after the first."""

from __future__ import annotations

import os
import signal
import sys

from fairlead_elastic_serving.links.door import LinkSettings, dial
from fairlead_elastic_serving.links.link import Inbox, Message


def main() -> None:
    address, fault, stall_s = sys.argv[1:]
    inbox = Inbox()
    link = dial(address, "a", "b", inbox, LinkSettings(stall_s=float(stall_s)))
    while (received := inbox.take(30.0)) is not None and received.message is not None:
        link.send(received.lane, Message("echo", received.message.fields, received.message.tensors))
        if received.message.fields.get("last"):
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[fault])


if __name__ == "__main__":
    main()
