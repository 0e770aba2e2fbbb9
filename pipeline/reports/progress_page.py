"""``reproduce.html``: how far ``proxyano reproduce`` has come; the page loads itself again until the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.reports.kit.publish import TEMPLATES
from pipeline.store.files import write_file

State = Literal["waits", "runs", "made", "failed", "left out"]


@dataclass(kw_only=True)
class Shown:
    """One step as the page shows it."""

    part: str
    title: str
    estimated: float  # minutes
    ground: str  # what the estimate rests on
    log: Path
    state: State = "waits"
    minutes: float = 0.0


@dataclass(frozen=True)
class PartSum:
    """The steps of a part together; estimate and ratio are of those that ended."""

    name: str
    done: int
    left: int
    estimated: float
    minutes: float
    minutes_left: float  # estimated, corrected by the ratio so far

    @property
    def ratio(self) -> float | None:
        """True over estimated minutes; None before a step has ended."""
        return self.minutes / self.estimated if self.done and self.estimated else None


def part_sums(steps: Sequence[Shown]) -> list[PartSum]:
    """The parts in their order."""
    found = []
    for name in dict.fromkeys(step.part for step in steps):
        own = [step for step in steps if step.part == name]
        ended = [step for step in own if step.state in ("made", "failed")]
        open_ = [step for step in own if step.state in ("waits", "runs")]
        estimated, minutes = (sum(getattr(step, field) for step in ended) for field in ("estimated", "minutes"))
        factor = minutes / estimated if estimated else 1.0
        found.append(
            PartSum(name, len(ended), len(open_), estimated, minutes, factor * sum(step.estimated for step in open_))
        )
    return found


def write_progress(path: Path, steps: Sequence[Shown], about: str, *, going: bool) -> None:
    """Write the page; a reader never sees half of it."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("progress.html.j2").render(
        steps=steps, parts=part_sums(steps), about=about, going=going, root=path.parent
    )
    write_file(path, page.encode())
