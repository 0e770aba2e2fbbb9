"""What commands print with: a console that gives pipes whole lines, and errors of one sentence."""

import errno
import sqlite3
import sys
from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from pipeline.errors import ProxyAnoError

STOPPED = "Stopped. The same command resumes."
INTERRUPTED = 130  # exit code after Ctrl-C
_OF_THE_DISK = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EIO)


class Commands(TyperGroup):
    """Commands whose foreseen errors end with one sentence and exit code 1 (settings: 2), and Ctrl-C with one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ProxyAnoError as error:
            stop(error, 1)
        except (sqlite3.Error, *_if_imported("sqlalchemy.exc", "SQLAlchemyError")) as error:  # type: ignore[misc]
            stop(f"A database cannot be used: {str(error).splitlines()[0]}; see: proxyano doctor", 1)
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            stop(f"{error.filename or 'a file'}: {error.strerror}; see: proxyano doctor", 1)
        except ValidationError as error:  # of a variable of the settings
            stop("\n".join(f"{each['loc'][0]}: {each['msg']}, got {each['input']!r}" for each in error.errors()))
        except (KeyboardInterrupt, *_if_imported("dagster._core.errors", "DagsterExecutionInterruptedError")):  # type: ignore[misc]
            stop(STOPPED, INTERRUPTED)


def _if_imported(module: str, error: str) -> tuple[type[BaseException], ...]:
    """An error's class, if anything can have raised it: importing it costs half a second."""
    return (getattr(sys.modules[module], error),) if module in sys.modules else ()


def console_of(width: int = 200) -> Console:
    """The terminal; for a pipe or a file, lines of up to ``width`` characters."""
    console = Console()
    return console if console.is_terminal else Console(width=width)


def counted(number: int, noun: str) -> str:
    """``1 wave``, ``2 waves``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def stop(message: object, code: int = 2) -> NoReturn:
    """Print an error on stderr and exit; control characters of names in it are escaped."""
    from pipeline.data.walk import shown  # takes a second, with the readers

    text = "\n".join(map(shown, str(message).splitlines()))
    Console(stderr=True).print(f"[red]{escape(text)}[/]", soft_wrap=True, highlight=False)
    raise typer.Exit(code)
