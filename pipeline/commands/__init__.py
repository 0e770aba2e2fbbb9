"""The commands of ``proxyano``, one file each; Ctrl-C while they are imported gives one line."""

import sys
from typing import Any


def _end(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("Stopped.\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _end
