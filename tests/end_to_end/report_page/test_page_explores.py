"""The page's plots, threshold, gallery, lists and tables react to mouse and keyboard."""

import numpy as np
import pandas as pd
import pytest

from pipeline.reports.evaluation.explorer import errors_at

OWN, PCA = "proxyano:standardised", "control_pca:standardised"


def counts(page):
    """Wrong images by row of the first data set's table."""
    return [int(text) for text in page.locator(".explorer").first.locator("td.wrong").all_inner_texts()]


def wrong(report, column, threshold):
    return [one["wrong"] for one in errors_at(report.scores, column, threshold)]


def test_the_slider_moves_the_numbers_to_those_of_the_evaluation(show, report):
    page = show()
    lane = page.locator(".explorer").first
    start = report.about("thresholds")[OWN]
    assert counts(page) == wrong(report, OWN, start)
    slider = lane.get_by_role("slider")
    slider.focus()
    for key in ("ArrowRight", "PageUp", "Home", "End"):
        page.keyboard.press(key)
        assert counts(page) == wrong(report, OWN, float(slider.input_value()))
    assert float(slider.input_value()) > start
    lane.get_by_role("spinbutton").fill("0.5")
    assert counts(page) == wrong(report, OWN, 0.5)
    assert float(slider.input_value()) == pytest.approx(0.5)
    normal = wrong(report, OWN, 0.5)[2]
    page.wait_for_function(f"document.querySelector('.explorer p[role=status]').textContent.includes('{normal} of 24')")
    lane.get_by_role("button", name="Label-free").click()
    assert counts(page) == wrong(report, OWN, start)
    lane.get_by_role("combobox", name="Score").select_option(label="PCA, standardised")
    assert counts(page) == wrong(report, PCA, report.about("thresholds")[PCA])


def test_line_and_roc_point_follow_the_threshold(show, drawn, report):
    page = show()
    drawn(page, ".explorer .dots")
    drawn(page, "#oct-roc .canvas")
    page.locator(".explorer").first.get_by_role("spinbutton").fill("1.25")
    line = page.evaluate("document.querySelector('.dots').layout.shapes.find((one) => one.type === 'line').x0")
    assert line == 1.25
    point = page.evaluate("(({x, y}) => [x[0], y[0]])(document.querySelector('#oct-roc .canvas').data.at(-1))")
    *_, normals, _, _, missed = wrong(report, OWN, 1.25)
    assert point == pytest.approx([normals / 24, 1 - missed / 48])


def test_a_dot_shows_its_image_and_opens_it(show, drawn, report):
    page = show()
    dots = drawn(page, ".explorer .dots")
    box = page.evaluate(
        """() => {
          const plot = document.querySelector('.dots');
          const trace = plot.data.findIndex((one) => one.name === 'CNV');
          const place = plot.data[trace].marker.size.indexOf(10);
          const {x, y, customdata} = plot.data[trace];
          const {left, top} = plot.getBoundingClientRect();
          const {xaxis, yaxis} = plot._fullLayout;
          const at = [left + xaxis._offset + xaxis.d2p(x[place]), top + yaxis._offset + yaxis.d2p(y[place])];
          return [...at, customdata[place]];
        }"""
    )
    page.mouse.move(box[0] - 30, box[1])
    page.mouse.move(box[0], box[1])
    card = page.locator(".hover")
    card.wait_for(state="visible")
    assert report.scores["path"][box[2]] in card.inner_text()
    assert "data:image" in card.locator(".thumb").evaluate("(one) => getComputedStyle(one).backgroundImage")
    dots.click(position={"x": box[0] - dots.bounding_box()["x"], "y": box[1] - dots.bounding_box()["y"]})
    page.get_by_role("dialog").wait_for(state="visible")
    assert report.scores["image_id"][box[2]] in page.get_by_role("dialog").inner_text()


def test_the_gallery_works_by_keyboard_and_gives_the_focus_back(show):
    page = show()
    card = page.locator(".card-of").nth(2)
    card.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert "3 of 10" in dialog.inner_text()
    title = dialog.get_by_role("heading").inner_text()
    page.keyboard.press("ArrowRight")
    assert "4 of 10" in dialog.inner_text()
    page.keyboard.press("ArrowLeft")
    assert dialog.get_by_role("heading").inner_text() == title
    outside = "document.activeElement !== document.body && !document.activeElement.closest('dialog')"
    for _ in range(14):  # the body stands for the browser's own controls, between the dialog's last and first
        page.keyboard.press("Tab")
        assert not page.evaluate(outside)
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert card.evaluate("(one) => one === document.activeElement")


def test_blending_and_truth_change_what_is_seen(show):
    page = show(reduced_motion="reduce")
    page.locator(".card-of").first.click()
    stage, blend = page.locator(".stage"), page.get_by_label("Blend")
    seen = []
    for value, said in (("0", "input"), ("2", "reconstruction"), ("2.5", "50 % heat map"), ("3", "heat map")):
        blend.fill(value)
        assert said in blend.get_attribute("aria-valuetext")
        assert said in stage.get_attribute("aria-label")
        seen.append(stage.screenshot())
    assert stage.locator(".heat").evaluate("(one) => one.style.opacity") == "1"
    page.get_by_role("button", name="Input", exact=True).click()
    assert stage.screenshot() == seen[0]
    for box in ("True lesions outlined", "Heat map over the picture"):
        page.get_by_label(box).check()
        seen.append(stage.screenshot())
    assert len(set(seen)) == len(seen)
    wide = stage.bounding_box()
    page.get_by_label("Canvas").select_option(label="tight")
    assert stage.bounding_box()["height"] == pytest.approx(wide["height"] / 2, rel=0.35)


def test_what_was_not_looked_at_is_hatched_in_the_heat_map(show):
    page = show(reduced_motion="reduce")
    page.locator(".card-of").first.click()
    levels = page.locator(".stage img.heat").evaluate(
        """async (image) => {
          await image.decode();
          const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d');
          canvas.drawImage(image, 0, 0);
          const {data} = canvas.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
          return [...data].filter((_, place) => place % 4 === 1);
        }"""
    )
    side = round(len(levels) ** 0.5)
    green = np.reshape(levels, (side, side))
    assert np.ptp(green[:, 3 * side // 4 :]) > 40, "no stripes where nothing was looked at"
    assert np.median(green[:, : side // 2]) < 20


def test_scores_far_from_the_normals_leave_the_normals_room(show, drawn):
    """IDRiD's scores are a thousand times those of its normals; on an axis to their end all normals would be a line."""
    page = show()
    drawn(page, "#brain_mri .explorer .dots")
    low, high, normals = page.evaluate(
        """() => {
          const plot = document.querySelector('#brain_mri .explorer .dots');
          const normals = plot.data.filter((one) => one.name.includes('normals')).flatMap((one) => [...one.x]);
          return [...plot.layout.xaxis.range, normals];
        }"""
    )
    assert np.ptp(normals) > (high - low) / 15


def test_the_list_of_images_sorts_filters_and_opens(show, report):
    page = show()
    box = page.locator("details.images").first
    box.locator("summary").press("Enter")
    first = box.locator("tbody tr").first
    best = report.scores.loc[report.scores[OWN].idxmax(), "path"]
    assert best in first.inner_text()
    assert box.locator("tbody tr").count() == 50
    box.get_by_role("button", name="Show more").click()
    box.get_by_role("button", name="score", exact=True).press("Enter")
    assert box.get_by_role("columnheader", name="score").get_attribute("aria-sort") == "ascending"
    assert report.scores.loc[report.scores[OWN].idxmin(), "path"] in first.inner_text()
    box.get_by_role("combobox", name="Show").select_option(label="misses at the threshold")
    missed = wrong(report, OWN, report.about("thresholds")[OWN])[-1]
    assert box.locator("tbody tr").count() == missed
    box.get_by_role("combobox", name="Show").select_option(label="DME")
    opener = box.locator("tbody button").first
    name = opener.inner_text()
    opener.press("Enter")
    assert name in page.get_by_role("dialog").inner_text()


def test_a_file_is_found_by_part_of_its_name_and_opens_outside_the_gallery_too(show, report):
    page = show()
    box = page.locator("details.images").first
    box.locator("summary").press("Enter")
    box.get_by_role("searchbox", name="File name").fill("test/cnv 072")
    assert box.locator("tbody tr").count() == 1
    row = box.locator("tbody button")
    assert row.inner_text() == "test/CNV/=scan 072.png"
    row.press("Enter")
    dialog = page.get_by_role("dialog")
    text = dialog.inner_text()
    assert "test/CNV/=scan 072.png" in text
    assert report.scores["image_id"][72] in text
    page.keyboard.press("Escape")
    inside = set(page.evaluate("report.lanes.get('oct').data.gallery.map((one) => one.row)"))
    outside = next(row for row in range(72, 96) if row not in inside)
    box.get_by_role("searchbox", name="File name").fill(f"{outside:03d}.png")
    box.locator("tbody button").press("Enter")
    assert "Only a thumbnail is kept" in dialog.inner_text()
    assert "data:image" in dialog.locator(".stage .whole").evaluate("(one) => getComputedStyle(one).backgroundImage")
    assert not dialog.get_by_label("Blend").is_visible()


@pytest.mark.parametrize(("kind", "name"), [("false alarms", "false alarm"), ("misses", "missed")])
def test_the_list_is_saved_as_csv(show, report, tmp_path, kind, name):
    page = show()
    box = page.locator("details.images").first
    box.locator("summary").press("Enter")
    box.get_by_role("combobox", name="Show").select_option(label=f"{kind} at the threshold")
    with page.expect_download() as waited:
        box.get_by_role("button", name="Save this list as CSV").click()
    waited.value.save_as(tmp_path / "list.csv")
    saved = pd.read_csv(tmp_path / "list.csv")
    threshold = report.about("thresholds")[OWN]
    scores, normal = report.scores, name == "false alarm"
    expected = scores[(scores["label"] == 0) & (scores[OWN] > threshold)]
    if not normal:
        expected = scores[(scores["label"] == 1) & (scores[OWN] <= threshold)]
    assert len(expected) > 0
    assert sorted(saved["file"]) == sorted(expected["path"])
    assert set(saved["result"]) == {name}
    written = saved.set_index("image_id")["score"].to_dict()
    assert written == pytest.approx(expected.set_index("image_id")[OWN].to_dict())


def test_the_page_says_first_what_it_is_not_and_when_it_was_written(show):
    page = show()
    first = page.locator("main").inner_text()[:6000]
    assert "For research only. Not a medical device, not for clinical use. Written on 2026-11-30." in first
    summary = page.locator(".summary table").first.inner_text()
    assert all(word in summary for word in ("at the label-free threshold", "found", "false alarms", "test images"))


def test_terms_are_explained_where_the_pointer_rests(show):
    page = show()
    head = page.locator("#oct table.sortable abbr").first
    assert len(head.get_attribute("title")) > 20
    page.locator("#glossary summary").click()
    assert "Committee" in page.locator("#glossary dl").inner_text()


def test_the_axis_of_auroc_ends_at_one(show, drawn):
    page = show()
    drawn(page, "#oct-forest .canvas")
    low, high = page.evaluate("document.querySelector('#oct-forest .canvas').layout.xaxis.range")
    assert high == 1
    assert 0 <= low < 0.6


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_shows_names_and_axis_of_the_intervals(show, drawn, scheme):
    page = show(390, 844, color_scheme=scheme)
    drawn(page, "#oct-forest .canvas")
    plot = page.locator("#oct-forest .canvas")
    assert plot.locator(".xtick").count() >= 3
    name = plot.locator(".annotation-text", has_text="PCA, standardised")
    assert name.evaluate("(one) => getComputedStyle(one).fill") == page.evaluate(
        "getComputedStyle(document.body).color"
    )


def test_tables_sort_by_number_and_keep_their_intervals(show):
    page = show()
    table = page.locator("#oct table.sortable").first
    head = table.get_by_role("columnheader", name="AUROC [95 %]", exact=False).first
    column = head.evaluate("(one) => one.cellIndex")
    texts = {}
    for order in ("descending", "ascending"):
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == order
        cells = table.locator(f"tbody td:nth-child({column + 1})")
        texts[order] = cells.all_inner_texts()
        values = [
            float(value) for value in cells.evaluate_all("(all) => all.map((c) => c.dataset.sort).filter(Boolean)")
        ]
        assert values == sorted(values, reverse=order == "descending")
    assert sorted(texts["ascending"]) == sorted(texts["descending"])
    assert any("[" in text for text in texts["ascending"])
