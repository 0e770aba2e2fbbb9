"""The quality report's first sentence names the control that is ahead, alone in the committee or beside others."""

import pandas as pd
import pytest

from benchmarks.quality_report import marks_sentence, oracle


def records(values: dict[str, float]) -> pd.DataFrame:
    """One IDRiD lane: pixel AUROC of each method."""
    rows = pd.DataFrame({"method": list(values), "value": list(values.values())})
    return rows.assign(
        dataset="idrid", kind="lane", level="pixel", score="standardised", metric="auroc", subset="all", split_seed=0
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"proxyano": 0.85, "control_line_blob": 0.8, "committee": 0.9},
            "0 of 11 goals are met. Fundus photographs (IDRiD): committee is first with .900; ProxyAno has .850",
        ),
        (
            {"proxyano": 0.88, "control_line_blob": 0.94, "committee": 0.94},
            "line-blob maps is first with .940, a control, ahead of every learned method and alone in the committee;",
        ),
        (
            {"proxyano": 0.8, "committee": 0.88, "control_line_blob": 0.9},
            "line-blob maps is first with .900, a control, ahead of every learned method and of the committee;",
        ),
    ],
)
def test_first_sentence(values: dict[str, float], said: str) -> None:
    found = marks_sentence(records(values))
    assert said in found
    assert found.endswith("the paper .701.")


def test_goals_are_counted() -> None:
    assert marks_sentence(records({"proxyano": 0.88, "committee": 0.94})).startswith("2 of 11 goals are met.")


def test_the_oracle_names_the_best_row_and_what_fitted_weights_reach_in_the_same_figure() -> None:
    rows = records({"committee": 0.9, "control_line_blob": 0.91})
    assert oracle(rows, rows.iloc[:1]) == "line-blob maps 0.9100"
    fitted = rows.iloc[:1].assign(method="fitted_on_test", score="oracle", value=0.95)
    assert oracle(pd.concat([rows, fitted]), rows.iloc[:1]) == "line-blob maps 0.9100; .950"
    assert oracle(pd.concat([rows, fitted.assign(level="image")]), rows.iloc[:1]) == "line-blob maps 0.9100"
