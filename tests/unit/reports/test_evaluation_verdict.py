"""What the evaluation report and the terminal say of the numbers."""

from dataclasses import replace

from rich.console import Console

from pipeline.reports.evaluation.tables import summary_table
from pipeline.reports.evaluation.verdict import lead, sentences, verdict
from pipeline.reports.kit.words import number, title


def test_the_verdict_says_that_the_control_wins_when_it_wins(oct_lane):
    said = " ".join(sentences(verdict(oct_lane)))
    assert lead([verdict(oct_lane)]) == "ProxyAno stays behind the best control on OCT."
    assert "ProxyAno stays behind this control; the intervals do not overlap." in said
    assert "the best control (PCA, standardised)" in said
    assert "A shortcut may explain this result: the shortcut “file size” alone reaches" in said
    assert "The paper reports .933." in said
    assert "Against held-out training normals" in said


def test_the_verdict_says_that_proxyano_is_ahead_when_it_is(make_lane):
    gains = {"proxyano:latent": 1.0, "proxyano:standardised": 5.0, "control_pca:standardised": 0.5}
    judged = verdict(make_lane("brain_mri", gains))
    said = " ".join(sentences(judged))
    assert lead([judged]) == "ProxyAno is ahead of every control on BRAIN_MRI."
    assert "behind" not in said
    assert "shortcut" not in said
    assert "ProxyAno (score: standardised)" in said


def test_pretrained_scores_are_marked_and_take_no_part_in_the_verdict(make_lane):
    gains = {"proxyano:standardised": 2.0, "control_pca:standardised": 0.5, "control_feature_neighbour:standardised": 9}
    lane = make_lane("oct", gains | {"committee:standardised": 9.0})
    judged = verdict(replace(lane, summary={**lane.summary, "pretrained": ["control_feature_neighbour", "committee"]}))
    assert judged.control["method"] == "control_pca"
    assert "The committee, with a member that uses ImageNet weights, has" in " ".join(sentences(judged))
    assert verdict(lane).control["method"] == "control_feature_neighbour"
    assert "(pretrained)" in title("control_feature_neighbour")


def test_overlapping_intervals_are_no_victory(make_lane):
    judged = verdict(make_lane("oct", {"proxyano:latent": 1.05, "control_pca:standardised": 1.0}))
    assert judged.overlapping
    assert "the intervals overlap" in " ".join(sentences(judged))
    assert "ahead of every" not in lead([judged])


def test_what_prints_alike_is_level(oct_lane):
    judged = verdict(oct_lane)
    method, control = judged.method, judged.control
    assert method is not None
    assert control is not None
    tie = replace(judged, method=method | {"value": 0.9381}, control=control | {"value": 0.9384, "low": 0.9, "high": 1})
    assert tie.standing == "level"
    assert "ProxyAno is level with this control" in " ".join(sentences(tie))
    assert lead([tie]) == "ProxyAno cannot be told apart from the best control on OCT."
    ahead = replace(tie, control=control | {"value": 0.9374, "low": 0.9, "high": 1})
    assert ahead.standing == "ahead, intervals overlap"


def test_a_leaking_split_and_a_missing_control_are_said(make_lane):
    judged = verdict(make_lane("brain_mri", {"proxyano:latent": 2.0}, leaking=True))
    said = " ".join(sentences(judged))
    assert "no control was measured" in said
    assert "it leaks" in said
    assert lead([judged]) == "There is nothing to compare it with on BRAIN_MRI."


def test_the_terminal_table_names_the_control_that_is_ahead(oct_lane, idrid_lane):
    console = Console(width=160)
    with console.capture() as shown:
        console.print(summary_table([*oct_lane.records, *idrid_lane.records]))
    lines = shown.get().splitlines()
    row = next(line for line in lines if "oct (image)" in line)
    assert "← ahead" in row
    assert ".933" in row
    assert "[" in row
    assert "← ahead" not in next(line for line in lines if "idrid (pixel)" in line)


def test_numbers_and_names_are_written_for_people():
    assert [number(v) for v in (0.9853, 1.0, None, -0.25, -0.0004)] == [".985", "1.000", "–", "-.250", ".000"]
    assert title("control_mean_intensity") == "mean intensity"
    assert title("proxyano") == "ProxyAno"
