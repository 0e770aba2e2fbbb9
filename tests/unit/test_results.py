"""Results over seeds: means of values and intervals, earlier rows kept, one file and its tables."""

import json

import pandas as pd
import pytest

from pipeline.errors import ConfigError
from pipeline.evaluation.records import RECORD_KEYS
from pipeline.evaluation.saved import write_evaluation
from pipeline.reports.results import Run, compare, merged, merged_claims, publish_results, read_results, results, tables
from pipeline.store.versions import Store


@pytest.fixture
def run(tmp_path):
    def made(seed, value, dataset="oct", split=0, minutes=10.0, pretrained=()):
        home = tmp_path / f"{dataset}{seed}{split}{len(pretrained)}"
        head = {"dataset": dataset, "method": "proxyano", "preset": "quick", "seed": seed, "data_version": "d"}
        rows = [("image", "latent", "auroc", "all"), ("image", "latent", "f1", "all")]
        rows += [("reconstruction", "wide", "proxy_r2", "test normals")]
        names = ("level", "score", "metric", "subset")
        fields = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 50}
        records = [head | dict(zip(names, row, strict=True)) | fields for row in rows]
        records = [{key: record[key] for key in RECORD_KEYS} for record in records]
        summary = {"dataset": dataset, "title": dataset, "preset": "quick", "method": "proxyano", "seed": seed}
        summary["pretrained"] = list(pretrained)
        records += [{**record, "method": name} for name in pretrained for record in records[:2]]
        scores = pd.DataFrame({"image_id": ["a"], "split": ["test"], "label": [0], "klass": ["n"], "group": ["a"]})
        store = Store(home / "stores")
        with store.building(f"{dataset}/evaluation", "0" * 16) as work:
            write_evaluation(
                work / "content", records=records, scores=scores, summary=summary | {"minutes": {"stage1": minutes}}
            )
            version = store.publish(f"{dataset}/evaluation", work / "content", f"{seed:016x}", {})
        store.point(version)
        return Run(home, dataset, seed, split)

    return made


def by_metric(found):
    return {result["metric"]: result for result in found}


def test_a_result_is_the_mean_over_seeds_and_metrics_nobody_asked_for_are_left_out(run):
    found = by_metric(results([run(0, 0.8), run(1, 0.9, minutes=20.0)]))
    assert set(found) == {"auroc", "proxy_r2"}
    assert found["auroc"]["value"] == pytest.approx(0.85)
    assert (found["auroc"]["low"], found["auroc"]["high"]) == (pytest.approx(0.75), pytest.approx(0.95))
    assert (found["auroc"]["seeds"], found["auroc"]["minutes"]) == ([0, 1], 15.0)
    assert found["auroc"]["command"] == "PROXYANO_PRESET=quick proxyano results oct --seeds 0,1"


def test_data_sets_without_an_evaluation_keep_their_rows_and_others_are_replaced(run, tmp_path):
    earlier = [{**one, "commit": "older"} for one in results([run(0, 0.5, "idrid"), run(0, 0.8)])]
    found = merged(results([run(1, 0.9), Run(tmp_path / "nothing", "idrid", 1, 0)]), earlier)
    values = {(result["dataset"], result["metric"]): result["value"] for result in found}
    assert values["idrid", "auroc"] == 0.5
    assert values["oct", "auroc"] == 0.9
    assert len(found) == 4


def test_pretrained_members_stand_beside_the_others_and_replace_none(run):
    own = results([run(0, 0.8)])
    with_members = results([run(0, 0.9, pretrained=("committee",))])
    assert [(one["method"], one["pretrained"], one["metric"]) for one in with_members] == [("committee", True, "auroc")]
    assert with_members[0]["command"].startswith("PROXYANO_PRETRAINED=true PROXYANO_PRESET=quick ")
    both = merged(with_members, own)
    assert [one["pretrained"] for one in both] == [False, False, True]
    assert merged(own, both) == [both[2], *own]
    page = tables(pd.DataFrame(both), "abcdef01 abcdef01+changes abcdef012")
    assert "at commits abcdef0 and abcdef0+changes; " in page
    assert "committee latent, pretrained" in page


def test_further_seeds_of_the_same_commit_are_averaged_with_the_published_ones(run):
    published = results([run(0, 0.8), run(2, 0.6)])
    found = by_metric(merged(results([run(1, 0.9, minutes=40.0)]), published))["auroc"]
    assert found["seeds"] == [0, 1, 2]
    assert found["values"] == {"seed 0, split 0": 0.8, "seed 1, split 0": 0.9, "seed 2, split 0": 0.6}
    assert found["value"] == pytest.approx((0.8 + 0.6 + 0.9) / 3, abs=1e-4)
    assert found["low"] == pytest.approx(found["value"] - 0.1, abs=1e-4)
    assert found["minutes"] == pytest.approx(20.0)
    assert found["command"].endswith("--seeds 0,1,2")
    assert by_metric(merged(results([run(2, 0.6)]), published))["auroc"]["seeds"] == [2]
    older = [{**one, "commit": "older"} for one in published]
    assert by_metric(merged(results([run(1, 0.9)]), older))["auroc"]["seeds"] == [1]


def test_compared_with_published_figures_each_is_inside_its_interval_or_named(run):
    published = results([run(0, 0.8), run(0, 0.5, "idrid")])
    near = compare(results([run(1, 0.85)]), published)
    assert near["agrees"].tolist() == [True, True]
    assert set(near["dataset"]) == {"oct"}
    far = compare(results([run(2, 0.95)]), published)
    assert far["agrees"].tolist() == [False, False]
    bare = [{**one, "low": None, "high": None} for one in published]
    assert not compare(results([run(1, 0.85)]), bare)["agrees"].any()
    more = [{**published[0], "score": "new"}, *published]
    assert compare(results([run(1, 0.85)]), more)["agrees"].tolist() == [False, True, True]


def test_tables_show_intervals_and_what_the_method_does(run):
    found = json.loads(json.dumps(results([run(0, 0.8)])))
    page = tables(pd.DataFrame(found), "abc")
    assert "| proxyano latent | 0.800 [0.700, 0.900] |" in page
    assert "proxy_r2, test normals" in page
    assert "Nothing here is about real data" not in page
    sample = pd.DataFrame(found).assign(command="PROXYANO_PRESET=sample proxyano results oct --seeds 0")
    assert "> Preset `sample`" in tables(sample, "abc")
    assert tables(pd.DataFrame([]), "abc").startswith("# Tables")


def test_a_figure_that_one_data_set_lacks_is_an_empty_cell(run):
    rows = results([run(0, 0.8)])
    other = [{**row, "dataset": "idrid", "metric": "lesion_kept"} for row in rows if row["metric"] == "proxy_r2"]
    page = tables(pd.DataFrame([*rows, *other]), "abc")
    (line,) = (line for line in page.splitlines() if line.startswith("| lesion_kept"))
    assert "nan" not in page
    assert [cell.strip() for cell in line.split("|")[2:-1]].count("") == 1


def test_a_damaged_file_of_earlier_results_is_named(run, tmp_path):
    (tmp_path / "results.json").write_text('{"records": [')
    with pytest.raises(
        ConfigError, match=r"results\.json: expected earlier results, got no such file or a damaged one"
    ):
        publish_results([run(0, 0.8)], tmp_path)


def claim(form="canonical", verdict="holds", differences=({"value": 0.1},)):
    head = {"dataset": "oct", "form": form, "where": "Table IV", "text": "a memory improves it", "why": "p .01"}
    return {**head, "verdict": verdict, "differences": list(differences)}


def of_part(part, value, method="memae"):
    head = {"dataset": "oct", "method": method, "score": "standardised", "level": "image", "metric": "auroc"}
    more = {"subset": "noise 0.1" if part == "robustness" else "all", "part": part, "pretrained": False, "minutes": 1.0}
    tail = {"seed": 0, "split": 0, "commit": "c", "command": f"proxyano reproduce --part {part} --seeds"}
    return {**head, **more, **tail, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 50}


def test_parts_that_were_not_made_keep_their_results_and_claims(run, tmp_path):
    rows = [
        of_part("lanes", 0.8, "proxyano"),
        of_part("benchmark", 0.7),
        of_part("ablations", 0.6, "si_mem"),
        of_part("robustness", 0.5, "committee"),
    ]
    publish_results([], tmp_path, rows, [claim()])
    publish_results([], tmp_path, [of_part("benchmark", 0.75)], [claim("raw", "cannot be told here")])
    found = {(one["part"], one["metric"]): one for one in read_results(tmp_path / "results.json")}
    values = {part: found[part, "auroc"]["value"] for part in ("lanes", "benchmark", "ablations", "robustness")}
    assert values == {"lanes": 0.8, "benchmark": 0.75, "ablations": 0.6, "robustness": 0.5}
    assert found["benchmark", "auroc"]["command"] == "proxyano reproduce --part benchmark --seeds 0"
    assert {tuple(one) for one in found.values()} == {tuple(results([run(0, 0.8)])[0])}, "as those of an evaluation"
    claims = json.loads((tmp_path / "results.json").read_text())["claims"]
    assert [(one["form"], one["verdict"]) for one in claims] == [("canonical", "holds"), ("raw", "cannot be told here")]
    page = " ".join((tmp_path / "tables.md").read_text().split())
    assert "| oct, raw form | Table IV | a memory improves it | cannot be told here | p .01 |" in page
    assert (
        "oct, image level: | | standardised | |:------|:---------------------| | memae | 0.750 [0.650, 0.850] |" in page
    )
    assert "| noise 0.1 | 0.500 [0.400, 0.600] |" in page
    assert (tmp_path / "robustness" / "oct.png").stat().st_size > 10_000


def test_runs_of_a_part_that_were_not_made_again_keep_their_results(tmp_path):
    publish_results([], tmp_path, [of_part("ablations", 0.6, "si"), of_part("ablations", 0.7, "si_mem")])
    publish_results([], tmp_path, [of_part("ablations", 0.75, "si_mem"), of_part("ablations", 0.8, "memory_16")])
    found = {one["method"]: one["value"] for one in read_results(tmp_path / "results.json")}
    assert found == {"si": 0.6, "si_mem": 0.75, "memory_16": 0.8}


def test_a_claim_with_fewer_comparisons_replaces_none():
    both = claim(differences=({"value": 0.1}, {"value": 0.2}))
    assert merged_claims([claim(verdict="cannot be told here")], [both]) == [both]
    assert merged_claims([claim(verdict="cannot be told here", differences=())], [claim()]) == [claim()]
    assert merged_claims([claim(verdict="does not hold")], [claim()]) == [claim(verdict="does not hold")]
    assert merged_claims([claim(differences=())], []) == [claim(differences=())]
