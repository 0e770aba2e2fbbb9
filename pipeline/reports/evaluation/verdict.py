"""What an evaluation's numbers say: the method's primary score against controls, shortcuts and the paper."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.evaluation.records import AT_THRESHOLD, Record, find
from pipeline.evaluation.saved import LaneEvaluation
from pipeline.evaluation.score_name import PRIMARY
from pipeline.reports.kit.paper import LEVELS, PAPER
from pipeline.reports.kit.scores import best
from pipeline.reports.kit.words import DIGITS, listed, number, record_title, shown_title, title, with_interval

SHORTCUT_MARGIN = 0.05  # a shortcut explains a result if its AUROC is above the method's minus this
NEGLIGIBLE = 0.005  # smaller differences between two sets of negatives are not mentioned


def level_of(records: Sequence[Record], dataset: str) -> str:
    """The level that decides: the paper's, or the other one where that was not measured."""
    levels = {r["level"] for r in records if r["dataset"] == dataset and r["metric"] == "auroc"}
    wanted = LEVELS.get(dataset, "image")
    return wanted if wanted in levels or not levels else sorted(levels)[0]


def network_words(gain: Record | None) -> str:
    """Whether the score is ahead of its null, behind it, or neither (0 is in between); empty without an interval."""
    if gain is None or gain["low"] is None:
        return ""
    if gain["low"] > 0:
        return "ahead of its null"
    return "behind its null" if gain["high"] < 0 else "the network adds nothing"


def _told(words: str) -> str:
    """``network_words`` as the end of a sentence."""
    return f"{words} that can be told" if words.startswith("the") else f"ProxyAno is {words}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the method compares on one data set with the best control, shortcut, committee and null."""

    dataset: str
    title: str
    level: str
    leaking: bool
    drawn: bool  # images of the built-in sample, beside which the paper's figures mean nothing
    method: Record | None
    control: Record | None
    shortcut: Record | None
    committee: Record | None
    pretrained: bool  # whether a member of the committee has weights that were trained on other images
    null: Record | None  # the method's score without its network
    gain: Record | None  # paired difference of AUROC: method minus null
    raw_gain: Record | None  # the same of the paper's raw score: ‖I − Î‖ of images, |I − Î| of pixels
    heldout: Record | None  # the method's score against held-out training normals
    heldout_control: Record | None
    sensitivity: Record | None  # share of abnormal images above the label-free threshold
    false_alarms: Record | None  # share of normal test images above it
    tested: tuple[int, int] | None = None  # normal and abnormal test images

    @property
    def paper(self) -> float | None:
        """The paper's AUROC."""
        return PAPER[self.dataset][0] if self.dataset in PAPER and not self.drawn else None

    @property
    def difference(self) -> float:
        """The method's AUROC minus the best control's, both as printed; 0 where one is unknown."""
        if not self.method or not self.control:
            return 0.0
        return round(float(self.method["value"]), DIGITS) - round(float(self.control["value"]), DIGITS)

    @property
    def behind(self) -> bool:
        """The best control is better than the method."""
        return self.difference < 0

    @property
    def overlapping(self) -> bool:
        """The intervals of method and control overlap, or one is unknown."""
        if not self.method or not self.control:
            return False
        if self.method["low"] is None or self.control["low"] is None:
            return True
        lower, upper = sorted((self.method, self.control), key=lambda r: float(r["value"]))
        return bool(upper["low"] <= lower["high"])

    @property
    def explained(self) -> bool:
        """A shortcut nearly reaches the method."""
        return bool(self.method and self.shortcut and self.shortcut["value"] >= self.method["value"] - SHORTCUT_MARGIN)

    @property
    def standing(self) -> str:
        """``no result``, ``no control``, ``level``, ``behind`` or ``ahead``, the last two maybe with overlap."""
        if not self.method or not self.control:
            return "no control" if self.method else "no result"
        if self.difference == 0:
            return "level"
        return ("behind" if self.behind else "ahead") + (", intervals overlap" if self.overlapping else "")

    @property
    def network_sentence(self) -> str:
        """What the score is without the network, and what the network adds; empty where it was not measured."""
        words = network_words(self.gain)
        if self.null is None or not words:
            return ""
        text = f"The same score without the network ({title(self.null['method'])}) has {with_interval(self.null)}. "
        text += f"The difference is {with_interval(self.gain)}: {_told(words)}."
        if raw_words := network_words(self.raw_gain):
            symbol = "‖I − Î‖" if self.level == "image" else "|I − Î|"
            text += f" For the raw score {symbol} the difference is {with_interval(self.raw_gain)}: {_told(raw_words)}."
        return text

    @property
    def badges(self) -> list[tuple[str, str]]:
        """(style, words) of the page's badges: ``ahead``, ``even``, ``behind``, or none of them."""
        network = network_words(self.gain)
        found = [
            ("even" if self.overlapping else self.standing, self.standing),
            ("ahead" if network.startswith("ahead") else "behind", network),
            ("behind", "a shortcut may explain it" if self.explained else ""),
            ("behind", "leaking split" if self.leaking else ""),
        ]
        return [(style, words) for style, words in found if words]


def verdict(lane: LaneEvaluation) -> Verdict:
    """The verdict on a stored evaluation."""
    drawn = bool(lane.about("drawn"))
    named = shown_title(str(lane.about("title")), drawn=drawn)
    labels = lane.scores.loc[lane.scores["split"] == "test", "label"]
    facts = {"leaking": bool(lane.about("leaking")), "drawn": drawn, "pretrained": lane.about("pretrained")}
    judged = judge(lane.records, lane.dataset, title=named, **facts)
    return replace(judged, tested=(int((labels == 0).sum()), int((labels == 1).sum())))


def judge(
    records: Sequence[Record],
    dataset: str,
    *,
    title: str = "",
    leaking: bool = False,
    drawn: bool = False,
    pretrained: Sequence[str] = (),
) -> Verdict:
    """The verdict on a data set's records, at the level that decides; no ``pretrained`` control takes part in it."""
    own = [r for r in records if r["dataset"] == dataset]
    level = level_of(own, dataset)
    scratch = [r for r in own if r["method"] not in pretrained]
    method, control = best(own, level, "method"), best(scratch, level, "control")

    def other(row: Record | None, metric: str, score: str = "") -> Record | None:
        """Another figure of the same method, and of the same score unless one is named."""
        if row is None:
            return None
        wanted = {"method": row["method"], "score": score or row["score"], "metric": metric}
        at = "image" if metric in AT_THRESHOLD else level
        return next(iter(find(own, level=at, subset="all", **wanted)), None)

    return Verdict(
        dataset=dataset,
        title=title,
        level=level,
        leaking=leaking,
        drawn=drawn,
        method=method,
        control=control,
        shortcut=best(own, level, "shortcut"),
        committee=best(own, level, "committee"),
        pretrained="committee" in pretrained,
        null=best(own, level, "null"),
        gain=other(method, "auroc_minus_null", PRIMARY),
        raw_gain=other(method, "auroc_minus_null", "image" if level == "image" else "residual"),
        heldout=other(method, "auroc_heldout"),
        heldout_control=other(control, "auroc_heldout"),
        sensitivity=other(method, "sensitivity"),
        false_alarms=other(method, "false_alarm_rate"),
    )


def lead(verdicts: Sequence[Verdict]) -> str:
    """One sentence over all data sets: where ProxyAno is behind, where it is ahead, and what is open."""
    compared = [v for v in verdicts if v.method and v.control]
    behind = [v.title for v in compared if v.behind]
    ahead = [v.title for v in compared if v.difference > 0 and not v.overlapping]
    even = [v.title for v in compared if v.title not in (*behind, *ahead)]
    missing = [v.title for v in verdicts if v not in compared]
    places = {"stays behind the best control on": behind, "is ahead of every control on": ahead}
    places["cannot be told apart from the best control on"] = even
    said = [f"{words} {listed(titles)}" for words, titles in places.items() if titles]
    parts = [f"{'it' if place else 'ProxyAno'} {words}" for place, words in enumerate(said)]
    if missing:
        parts.append(f"there is nothing to compare it with on {listed(missing)}")
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def headline(v: Verdict) -> list[str]:
    """Sentences of the report's first paragraph: the comparison, and what speaks against the result."""
    if v.method is None:
        return [f"{v.title}: no AUROC of a learned method was measured."]
    text = f"{v.title}: ProxyAno (score: {v.method['score']}) has {v.level} AUROC {with_interval(v.method)}"
    text += f" ({v.tested[0]} normal and {v.tested[1]} abnormal test images)" if v.tested else ""
    if v.control is None:
        said = [f"{text}; no control was measured, so this says little."]
    else:
        said = [f"{text}; the best control ({record_title(v.control)}) {with_interval(v.control)}."]
        place = "stays behind" if v.behind else "is ahead of" if v.difference else "is level with"
        said.append(f"ProxyAno {place} this control; the intervals {'' if v.overlapping else 'do not '}overlap.")
    said += [v.network_sentence] if v.network_sentence else []
    if v.committee:
        named = "The committee, with a member that uses ImageNet weights," if v.pretrained else "The committee"
        said.append(f"{named} has {with_interval(v.committee)}.")
    if v.shortcut and v.explained:
        reached = f"the shortcut “{title(v.shortcut['method'])}” alone reaches {number(v.shortcut['value'])}"
        said.append(f"A shortcut may explain this result: {reached}.")
    if v.leaking:
        said.append("The split is the paper's random one: it leaks, because duplicates are on both sides.")
    return said


def sentences(v: Verdict) -> list[str]:
    """All sentences on a data set: ``headline``, then shortcuts, paper and second negatives."""
    said = headline(v)
    if v.method is None:
        return said
    if v.shortcut and not v.explained:
        said.append(f"The strongest shortcut, “{title(v.shortcut['method'])}”, reaches {number(v.shortcut['value'])}.")
    if v.paper is not None:
        said.append(f"The paper reports {number(v.paper)}.")
    if v.heldout:
        text = f"Against held-out training normals instead of the test normals ProxyAno has {with_interval(v.heldout)}"
        change = float(v.method["value"]) - float(v.heldout["value"])
        if v.control and v.heldout_control:
            text += f" and that control {with_interval(v.heldout_control)}"
            change = float(v.control["value"]) - float(v.heldout_control["value"])
        if abs(change) >= NEGLIGIBLE:
            text += f": the test normals are {'easier' if change > 0 else 'harder'} than the held-out ones"
        said.append(f"{text}.")
    return said
