"""What the numbers say, in plain words: the primary score of the method beside controls, shortcuts and the paper."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluation.records import PRIMARY, Record, find, kind
from pipeline.evaluation.saved import LaneEvaluation

DIGITS = 3  # of a printed figure; what prints alike is level
SHORTCUT_MARGIN = 0.05
"""A shortcut explains a result where its AUROC is above the method's minus this."""


@dataclass(frozen=True, kw_only=True)
class PaperResult:
    """The paper's figures of one data set: Table I (AUC, ACC, F1) and Table V (image and latent space AUC)."""

    level: str
    auroc: float
    acc: float
    f1: float
    image_space: float | None = None
    latent_space: float | None = None


PAPER = {
    "brain_mri": PaperResult(level="image", auroc=0.853, acc=0.805, f1=0.709, image_space=0.807, latent_space=0.853),
    "oct": PaperResult(level="image", auroc=0.933, acc=0.849, f1=0.725, image_space=0.916, latent_space=0.933),
    "idrid": PaperResult(level="pixel", auroc=0.701, acc=0.682, f1=0.649),
}

TITLES = {
    "proxyano": "ProxyAno",
    "committee": "committee",
    "member_denoising": "denoising auto-encoder",
    "member_segmentation": "network that marks synthetic anomalies",
    "control_pca": "PCA",
    "control_nearest": "1-nearest neighbour",
    "control_patch_neighbour": "local patch neighbour",
    "control_canonical": "canonical form itself",
    "control_median": "|x − median filter|",
    "control_slic": "|x − true SLIC image|",
    "control_similar_mean": "mean of similar normals",
    "null_similar_mean": "mean of similar normals instead of Î",
    "null_median": "median filter instead of Î",
    "null_slic": "true SLIC proxy instead of Î",
    "control_centre": "distance to the centre",
    "control_line_blob": "line-blob maps",
    "control_pixel_classifier": "pixel classifier on synthetic lesions",
    "shortcut_bytes": "file size",
    "shortcut_pixels": "pixel count",
    "shortcut_valid_fraction": "scored fraction",
    "shortcut_high_frequency": "high-frequency energy",
}


def title(method: str) -> str:
    """Name of a method for people."""
    plain = method.removeprefix("control_").removeprefix("shortcut_").replace("_", " ")
    return TITLES.get(method, plain)


def number(value: float | None) -> str:
    """Three decimals without the leading zero, a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.{DIGITS}f}"
    return text[1:] if text.startswith("0.") else text.replace("-0.", "-.", 1)


def with_interval(record: Record | None) -> str:
    """Value and its 95 % interval: ``.985 [.978, .991]``."""
    if record is None:
        return "–"
    if record["low"] is None:
        return number(record["value"])
    return f"{number(record['value'])} [{number(record['low'])}, {number(record['high'])}]"


def level_of(records: Sequence[Record], dataset: str) -> str:
    """The level a data set is judged at: the paper's where it was measured, else the one that was."""
    levels = {r["level"] for r in records if r["dataset"] == dataset and r["metric"] == "auroc"}
    wanted = PAPER[dataset].level if dataset in PAPER else "image"
    return wanted if wanted in levels or not levels else sorted(levels)[0]


def best(records: list[Record], dataset: str, level: str, of: str, metric: str = "auroc") -> Record | None:
    """Best record of a kind (method, committee, null, control, shortcut) over all images of a data set, or None.

    A method enters with its primary score alone, where it has one, and a null with the same score; controls enter with
    whatever is best for them.
    """
    rows = find(records, dataset=dataset, level=level, metric=metric, subset="all")
    rows = [row for row in rows if kind(row["method"]) == of]
    if of == "method":
        rows = [row for row in rows if row["score"] == PRIMARY] or rows
    if of == "null":
        rows = [row for row in rows if row["score"] == PRIMARY]
    return max(rows, key=lambda row: float(row["value"]), default=None)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Where the method stands on one data set, beside the best control, shortcut and null."""

    dataset: str
    title: str
    level: str
    method: Record | None
    control: Record | None
    shortcut: Record | None
    committee: Record | None
    heldout: Record | None  # the same score of the method against held-out training normals
    heldout_control: Record | None
    leaking: bool
    null: Record | None = None  # the method's score without its network
    gain: Record | None = None  # paired difference of AUROC: method minus null

    @property
    def difference(self) -> float:
        """The method's primary score less the best control's, both as printed; 0 where one is unknown."""
        if not self.method or not self.control:
            return 0.0
        return round(float(self.method["value"]), DIGITS) - round(float(self.control["value"]), DIGITS)

    @property
    def behind(self) -> bool:
        """The best control is better than the method's primary score."""
        return self.difference < 0

    @property
    def overlapping(self) -> bool:
        """The two intervals overlap (or one is unknown)."""
        if not self.method or not self.control:
            return False
        if self.method["low"] is None or self.control["low"] is None:
            return True
        lower, upper = sorted((self.method, self.control), key=lambda r: float(r["value"]))
        return bool(upper["low"] <= lower["high"])

    @property
    def explained(self) -> bool:
        """A shortcut reaches nearly what the method reaches."""
        return bool(self.method and self.shortcut and self.shortcut["value"] >= self.method["value"] - SHORTCUT_MARGIN)

    @property
    def network(self) -> str:
        """What the network adds, in words; empty where it was not measured."""
        return network_words(self.gain)

    @property
    def standing(self) -> str:
        """``no result``, ``no control``, ``level``, ``behind`` or ``ahead``, the last two maybe with overlap."""
        if not self.method or not self.control:
            return "no control" if self.method else "no result"
        if self.difference == 0:
            return "level"
        return ("behind" if self.behind else "ahead") + (", intervals overlap" if self.overlapping else "")


def network_words(gain: Record | None) -> str:
    """``ahead of its null``, ``behind its null`` or ``the network adds nothing``, by the interval of the difference.

    An interval that holds 0 is a tie, and a tie is no gain. Empty without an interval.
    """
    if gain is None or gain["low"] is None:
        return ""
    if gain["low"] > 0:
        return "ahead of its null"
    return "behind its null" if gain["high"] < 0 else "the network adds nothing"


def gain_of(records: list[Record], dataset: str, level: str, method: Record | None) -> Record | None:
    """The record ``auroc_minus_null`` of a method, or None."""
    if method is None:
        return None
    same = {"dataset": dataset, "level": level, "method": method["method"], "metric": "auroc_minus_null"}
    return next(iter(find(records, **same)), None)


def network_sentence(null: Record | None, gain: Record | None) -> str:
    """What the score is without the network, and what the network adds; empty where it was not measured."""
    words = network_words(gain)
    if null is None or gain is None or not words:
        return ""
    said = words if words.startswith("the") else f"ProxyAno is {words}"
    return (
        f"The same score without the network ({title(null['method'])}) has {with_interval(null)}. "
        f"The difference is {with_interval(gain)}: {said}."
    )


def verdict(lane: LaneEvaluation) -> Verdict:
    """Judge one lane at the level the paper judges it at."""
    records, dataset = lane.records, lane.dataset
    level = level_of(records, dataset)
    method, control = (best(records, dataset, level, of) for of in ("method", "control"))

    def heldout(row: Record | None) -> Record | None:
        if row is None or level != "image":
            return None
        same = {"dataset": dataset, "level": level, "method": row["method"], "score": row["score"], "subset": "all"}
        return next(iter(find(records, metric="auroc_heldout", **same)), None)

    return Verdict(
        dataset=dataset,
        title=str(lane.about("title")),
        level=level,
        method=method,
        control=control,
        shortcut=best(records, dataset, level, "shortcut"),
        committee=best(records, dataset, level, "committee"),
        heldout=heldout(method),
        heldout_control=heldout(control),
        leaking=bool(lane.about("leaking")),
        null=best(records, dataset, level, "null"),
        gain=gain_of(records, dataset, level, method),
    )


def listed(names: Sequence[str]) -> str:
    """Names for a sentence: ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def lead(verdicts: Sequence[Verdict]) -> str:
    """One sentence over all data sets: where ProxyAno stays behind, where it is ahead, what is open."""
    behind = [v.title for v in verdicts if v.behind]
    ahead = [v.title for v in verdicts if v.difference > 0 and not v.overlapping]
    even = [v.title for v in verdicts if v.method and v.control and not v.behind and v.title not in ahead]
    open_ = [v.title for v in verdicts if not v.method or not v.control]
    parts = []
    if behind:
        parts.append(f"ProxyAno stays behind the best control on {listed(behind)}")
    if ahead:
        parts.append(f"{'it' if parts else 'ProxyAno'} is ahead of every control on {listed(ahead)}")
    if even:
        parts.append(f"{'it' if parts else 'ProxyAno'} cannot be told apart from the best control on {listed(even)}")
    if open_:
        parts.append(f"there is nothing to compare it with on {listed(open_)}")
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def headline(v: Verdict) -> list[str]:
    """What the report's first paragraph says of one data set: the comparison, and what speaks against the result."""
    if v.method is None:
        return [f"{v.title}: no AUROC of a learned method was measured."]
    unit = "image" if v.level == "image" else "pixel"
    text = f"{v.title}: ProxyAno (score: {v.method['score']}) has {unit} AUROC {with_interval(v.method)}"
    if v.control is None:
        said = [f"{text}; no control was measured beside it, so this says little."]
    else:
        text += f"; the best control ({full_name(v.control)}) {with_interval(v.control)}."
        overlap = "the intervals overlap" if v.overlapping else "the intervals do not overlap"
        place = "stays behind" if v.behind else "is ahead of" if v.difference else "is level with"
        said = [text, f"ProxyAno {place} this control; {overlap}."]
    if told := network_sentence(v.null, v.gain):
        said.append(told)
    if v.committee:
        said.append(f"The committee has {with_interval(v.committee)}.")
    if v.shortcut and v.explained:
        reached = f"the shortcut “{title(v.shortcut['method'])}” alone reaches {number(v.shortcut['value'])}"
        said.append(f"A shortcut may explain this result: {reached}.")
    if v.leaking:
        said.append("The split is the paper's random one: it leaks, as duplicates stand on both sides.")
    return said


def sentences(v: Verdict) -> list[str]:
    """The verdict on one data set, a sentence each: ``headline``, then shortcuts, paper and second negatives."""
    said = headline(v)
    if v.method is None:
        return said
    if v.shortcut and not v.explained:
        reached = number(v.shortcut["value"])
        said.append(f"The strongest shortcut, “{title(v.shortcut['method'])}”, reaches {reached}.")
    if v.dataset in PAPER:
        said.append(f"The paper reports {number(PAPER[v.dataset].auroc)}.")
    return said + _second_negatives(v)


def full_name(record: Record) -> str:
    """Method and score of a record for people."""
    name, score = title(record["method"]), record["score"]
    return name if score == "value" else f"{name}, {score}"


def _second_negatives(v: Verdict) -> list[str]:
    """What changes when held-out training normals are the negatives."""
    if v.heldout is None or v.method is None:
        return []
    text = f"Against held-out training normals instead of the test normals ProxyAno has {with_interval(v.heldout)}"
    if v.heldout_control:
        text += f" and that control {with_interval(v.heldout_control)}"
    reference, other = (v.control, v.heldout_control) if v.control and v.heldout_control else (v.method, v.heldout)
    change = reference["value"] - other["value"]
    if abs(change) >= 0.005:
        text += f": the test normals are {'easier' if change > 0 else 'harder'} than the held-out ones"
    return [text + "."]
