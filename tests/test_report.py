"""The report: the same files give the same pages, every link leads somewhere, nothing is hidden."""

import json
import re
import shutil
from html.parser import HTMLParser

import mistune
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib import artifacts, claims, paths, report, runs, store
from lib.batch import inputs, plan
from lib.methods import Plain
from lib.recipe import Data, Model, Recipe, Train
from lib.report import markdown, readme
from lib.studies import ARTIFACTS

VOID = {"meta", "link", "img", "br", "hr", "input"}
PNG = bytes.fromhex("89504e470d0a1a0a")
WORDS = dict.fromkeys(readme.REGIONS, "") | {"artifact": " smart/fig5_fgsm"}
RECIPE = Recipe(Data("digits", train_images=32), Model("resnet18", width=8), Plain(), Train(3))


class Page(HTMLParser):
    """Collects links and ids, and checks that every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.ids, self.text, self.tags = [], [], [], [], set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
UNTRUSTED = st.lists(
    st.sampled_from([*"ab1 <>&;#`*_~$[]()!:/\\|.-+=\"'{}^\n", "http://a.b", "www.a.b", "<script>"])
    | st.sampled_from(["&lt;", "](x)", "]: x", "1. ", "- ", "`c`"]),
    max_size=12,
).map("".join)


def note(home):
    """Note the files of an artifact as a batch does."""
    made = {"seconds": 8.5, "inputs": {"a": "b"}, "outputs": artifacts.outputs(home)}
    (home / "inputs.json").write_text(json.dumps(made))


@pytest.fixture
def folder(results, monkeypatch):
    """Return results of one figure and one table."""
    monkeypatch.setattr(runs, "code_fingerprint", lambda recipe: "new")
    found = {
        RECIPE.key: {
            "recipe": RECIPE.to_dict(full=False),
            **{"code": "new", "weights": True, "seconds": 61.0, "device": "a CPU", "threads": 1},
        }
    }
    one = {
        "id": "a",
        "claim": "SMART <b> & more | than that",
        "our_value": "3 of 4, asked by `--set <x>`",
        "verdict": "partly",
    }
    two = {"id": "b", "claim": "Parameters", "kind": "analytic", "verdict": "reproduced"}
    for name, kind in (("smart/fig5_fgsm", "figure.png"), ("smart/table2_comparison", "table.md")):
        home = results / "quick" / name
        home.mkdir(parents=True)
        claims.table([one, two]).to_csv(home / "claims.csv", index=False)
        counted = {
            "metric": ["clean_acc", "params", "train_ratio:FLOAT", "robust_acc", "robust_acc"],
            "n": [2000.0, None, 900.0, 500.0, 2000.0],
        }
        pd.DataFrame(counted).to_csv(home / "metrics.csv")
        record = {"artifact": name, "preset": "quick", "seeds": [0], "overrides": {}, "runs": found}
        record |= {"command": f"./run_all.sh {name}", "commit": "c" * 40, "python": "3.11.7"}
        (home / "run.json").write_text(json.dumps(record))
        cells = [{"cell_type": "markdown", "source": [f"# Title of {name}\n", "text"]}]
        (home / f"{home.name}.ipynb").write_text(json.dumps({"cells": cells}))
        if kind == "table.md":
            (home / kind).write_text("| method | a\\|b |\n|:--|--:|\n| SMART <i> | 1.5 |\n")
        else:
            (home / kind).write_bytes(PNG)
            (home / "figure.pdf").write_bytes(b"%PDF")
        note(home)
    return results / "quick"


def build(folder):
    """Write the reports and return the entries of one folder by name."""
    return {e.artifact: e for e in report.build(folder.parent)[folder]}


def rewrite(path, **changes):
    """Change fields of a JSON file and note it as a batch does."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    note(path.parent)


def test_the_same_results_give_the_same_page_whose_links_lead_somewhere_offline(folder):
    names = ("index.html", "RESULTS.md", "summary.csv")
    build(folder)
    before = [(folder / name).read_bytes() for name in names]
    build(folder)
    assert [(folder / name).read_bytes() for name in names] == before
    page = Page((folder / "index.html").read_text())
    assert not page.open and len(page.ids) == len(set(page.ids))
    assert any(link.endswith("figure.png") for link in page.links)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    files = [link for link in page.links if not link.startswith(("#", "data:"))]
    assert inside <= {*page.ids} and all((folder / link).is_file() for link in files)


def test_claims_tables_and_conditions_are_shown_escaped_in_both_forms(folder):
    build(folder)
    html, text = ((folder / name).read_text() for name in ("index.html", "RESULTS.md"))
    assert "SMART &lt;b&gt; &amp; more | than that" in html
    assert "SMART &lt;i&gt;" in html and ">1.5</td>" in html and ">a|b</th>" in html
    assert "SMART &lt;b> & more \\| than that" in text and "| SMART &lt;i> | 1.5 |" in text
    assert "| method | a\\|b |" in text
    assert "asked by <code>--set &lt;x&gt;</code>" in html and "asked by `--set <x>` |" in text
    trained = "digits, resnet18 of width 8, 3 epochs, 32 training images, n = 500 or 2,000"
    for shown in (html, text):
        assert trained in shown and "61 s in all" in shown
        assert "./run_all.sh smart/fig5_fgsm" in shown
        assert "Title of smart/table2_comparison" in shown
        assert "Stale" not in shown and "failed:" not in shown


def test_every_column_of_claims_that_says_something_is_shown_and_the_verdict_first(folder):
    for path in folder.glob("smart/*/claims.csv"):
        frame = pd.read_csv(path).assign(needs="3 seeds", nothing="")
        frame.to_csv(path, index=False)
        note(path.parent)
    build(folder)
    rows = re.findall("<tr>.*3 seeds.*</tr>", (folder / "index.html").read_text())
    assert len(rows) == 4
    for row in rows:
        first = re.match('<tr><td data-label="verdict"><span class="chip [a-z]+">([^<]+)<', row)
        assert first[1] in claims.VERDICTS and '<td data-label="needs">3 seeds</td>' in row
    text = (folder / "RESULTS.md").read_text()
    assert "| verdict | claim |" in text and "nothing" not in text


def test_the_summary_counts_verdicts_and_the_page_explains_them(folder):
    build(folder)
    frame = pd.read_csv(folder / "summary.csv")
    made = ("smart/table2_comparison", "smart/fig5_fgsm")
    assert list(frame["artifact"]) == [name for name in ARTIFACTS if name in made]
    row = frame.iloc[0]
    assert (row["claims"], row["reproduced"], row["partly"]) == (2, 1, 1)
    assert (row["not_reproduced"], row["not_judged"], row["seconds"]) == (0, 0, 61.0)
    html = (folder / "index.html").read_text()
    assert all(f"<strong>{verdict}</strong>" in html for verdict in claims.VERDICTS)
    assert '<span class="chip good">2 reproduced</span>' in html


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "old"}, "Stale: 1 of 1 runs were made by other training code"),
        ({"weights": False}, "Redrawn from records: 1 of 1 runs have no weights here"),
        ({"dirty": True}, "1 of 1 runs were made with uncommitted changes"),
    ],
)
def test_what_a_reader_must_know_of_the_runs_is_said(folder, change, said):
    path = folder / "smart/fig5_fgsm/run.json"
    runs = json.loads(path.read_text())["runs"]
    rewrite(path, runs={RECIPE.key: runs[RECIPE.key] | change})
    entries = build(folder)
    assert entries["smart/fig5_fgsm"].notes[0].startswith(said)
    assert not entries["smart/table2_comparison"].notes
    for name in ("index.html", "RESULTS.md"):
        assert said in (folder / name).read_text()


def test_times_are_of_the_machine_that_measured_them_not_of_the_one_that_trained(folder):
    rewrite(folder / "smart/fig5_fgsm/run.json", timed_on={"device": "B", "threads": 3})
    entries = build(folder)
    names = ("smart/fig5_fgsm", "smart/table2_comparison")
    timed, other = (dict(entries[name].provenance) for name in names)
    assert timed["Times measured on"] == "B, 3 threads" and timed["Trained on"] == "a CPU"
    assert "Times measured on" not in other
    assert "- Times measured on: B, 3 threads\n" in (folder / "RESULTS.md").read_text()


def test_a_failure_shows_beside_the_results_of_the_time_before(folder):
    reason = {"reason": "cell [3]: ValueError: a | b"}
    for name in ("fig5_fgsm", "fig1_pareto"):
        store.write_json(folder / "smart" / name / "failure.json", reason)
    entries = build(folder)
    frame = pd.read_csv(folder / "summary.csv").set_index("artifact")
    for name in ("smart/fig5_fgsm", "smart/fig1_pareto"):
        assert frame.loc[name, "status"] == "failed: cell [3]: ValueError: a | b"
    assert frame.loc["smart/fig1_pareto", "claims"] == 0
    assert report.edited([entries["smart/fig1_pareto"]]) == []
    html = (folder / "index.html").read_text()
    assert html.count("What is shown here is from the one before") == 1
    assert not Page(html).open


def test_where_there_are_no_results_no_page_is_written(tmp_path):
    (tmp_path / "quick").mkdir()
    for only in ("", "quick", "cifar"):
        assert report.build(tmp_path, only) == {}
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_report_of_one_folder_leaves_those_of_others_as_they_are(folder):
    shutil.copytree(folder, folder.parent / "cifar")
    assert list(report.build(folder.parent, "quick")) == [folder]
    assert not (folder.parent / "cifar/index.html").exists()
    assert "cifar/index.html" in (folder.parent / "index.html").read_text()


def test_the_readme_shows_what_it_names_from_the_best_preset_that_has_it(folder):
    better = folder.parent / "cifar/smart/fig5_fgsm"
    shutil.copytree(folder / "smart/fig5_fgsm", better)
    found = {name: report.collect(folder.parent / name) for name in ("cifar", "quick")}
    other = readme.artifact(found, "smart/table2_comparison")
    assert "results/quick/RESULTS.md#smart-table2" in other
    assert readme.artifact(found, "dnr/nothing_yet") == readme.NOTHING
    text = readme.artifact(found, "smart/fig5_fgsm", "")
    assert "![Title of smart/fig5_fgsm](results/cifar/smart/fig5_fgsm/figure.png)" in text
    assert "results/quick/smart/fig5_fgsm" not in text
    for claim in found["cifar"][0].claims.itertuples():
        (row,) = [x for x in text.splitlines() if x.startswith(f"- **{claim.verdict}**")]
        assert markdown.line(claim.claim) in row and claim.difference in row


def test_the_readme_tells_of_each_paper_which_claims_held_most_clearly(folder):
    found = [
        ("table1-dense", "not reproduced", "-0.2 [-1.4, 1.0]"),  # far below a quarter of 41 points
        ("table1-shared", "not reproduced", "-4.0 [-7.9, -0.1]"),
        ("table1-clean-path", "not reproduced", "+5.0 [3.0, 7.0]"),  # 3 points above its margin
        ("table1-zero-robust", "reproduced", "+2.0 [0.6, 3.5]"),
        *((f"open {number}", "not judged", "") for number in range(4)),
    ]
    kind = {"kind": "measured", "our_value": "ours"}
    rows = [{"id": i, "claim": f"<{i}", "verdict": v, "difference": d} | kind for i, v, d in found]
    rows.append(rows[3] | {"id": "gdws-speed-seconds", "our_value": "1.31x [1.3, 1.33]"})
    rows.append({"id": "count", "verdict": "reproduced", "kind": "analytic"})
    claims.table(rows).to_csv(folder / "smart/fig5_fgsm/claims.csv", index=False)
    note(folder / "smart/fig5_fgsm")
    text = readme.papers(everything := {"quick": report.collect(folder)})
    assert "of 9 measured claims 2 (22%) reproduced, 0 (0%) partly, 3 (33%) not reproduced" in text
    where = "[`smart/fig5_fgsm`](results/quick/RESULTS.md#smart-fig5_fgsm)"
    assert f"2.0 [0.6, 3.5], {where}); &lt;table1-zero-robust (1.31x [1.3, 1.33], {where})." in text
    assert "robust: 1.31x [1.3, 1.33]." in readme.artifact(everything, "smart/fig5_fgsm", "gdws-")
    first, second = "table1-dense (-0.2 [-1.4, 1.0]", "table1-clean-path (+5.0 [3.0, 7.0]"
    assert f"Most clearly not reproduced: &lt;{first}, {where}); &lt;{second}, {where})." in text
    assert "table1-shared" not in text and readme.papers({}) == readme.NOTHING


def test_the_readme_changes_between_its_marks_only(folder, tmp_path):
    path = tmp_path / "README.md"
    regions = [f"<!-- generated: {n}{words} -->\nold\n<!-- end -->\n" for n, words in WORDS.items()]
    path.write_text(f"# Before\n{''.join(regions)}\nAfter, <!-- generated: x --> in a line\n")
    readme.fill(path)
    text = path.read_text()
    assert text.startswith("# Before\n") and text.endswith("in a line\n") and "\nold" not in text
    assert "| 1 / 1 / 0 / 0 |" in text and "| [quick](results/quick/RESULTS.md) |" in text
    assert "![Title of smart/fig5_fgsm](results/quick/smart/fig5_fgsm/figure.png)" in text
    assert "| `smart/fig3_bn_statistics` | [SMART, Figure 3b" in text
    readme.fill(path)
    assert path.read_text() == text


def test_the_readme_says_what_recorded_runs_took_on_each_machine(folder):
    took = [("A", 3600, 1e9), ("A", 1800, 2.5e9), ("B", 7200, 1e9)]
    for key, (machine, seconds, memory) in zip("xyz", took, strict=True):
        record = {"device": machine, "seconds": seconds, "peak_memory_bytes": memory}
        store.write_json(paths.records() / key / "run.json", record)
        scored = {"seconds": 360, "device": "C" if key == "y" else machine}
        store.write_signed(paths.records() / key / "evaluations/p.json", scored)
    rewrite(folder / "smart/fig5_fgsm/run.json", runs={key: {} for key in "xyz"})
    lines = readme.resources({"quick": report.collect(folder)}).splitlines()
    for row in ("A | 2 | 1.5 | 0.1 | 2.5", "B | 1 | 2.0 | 0.1 | 1.0", "C | 0 | 0.0 | 0.1 | 0.0"):
        assert f"| quick | {row} |" in lines


def shown(folder):
    """Return everything that is published of a results folder and of README."""
    report.build(folder.parent)
    pages = [path.read_text() for path in (folder, folder.parent) for path in pages_of(path)]
    found = {"quick": report.collect(folder)}
    regions = [readme.artifact(found, e.artifact) for e in found["quick"]]
    return "\n".join([*pages, readme.artifacts(found), *regions])


def pages_of(folder):
    return [path for path in sorted(folder.iterdir()) if path.suffix in (".html", ".md")]


@pytest.mark.parametrize(
    ("artifact", "name", "link"),
    [
        ("smart/fig5_fgsm", "claims.csv", "fig5_fgsm/claims.csv"),
        ("smart/table2_comparison", "table.md", "table2_comparison/table.md"),
        ("smart/fig5_fgsm", "figure.png", "fig5_fgsm/figure.png"),
        ("smart/fig5_fgsm", "metrics.csv", "fig5_fgsm/metrics.csv"),
        ("smart/fig5_fgsm", "run.json", "fig5_fgsm/run.json"),
        ("smart/fig5_fgsm", "fig5_fgsm.ipynb", "fig5_fgsm/fig5_fgsm.ipynb"),
    ],
)
@pytest.mark.parametrize("gone", [False, True])
def test_an_edited_file_is_not_published_and_its_name_is(folder, artifact, name, link, gone):
    path = folder / artifact / name
    assert link in shown(folder)
    content = path.read_bytes().replace(b"SMART", b"EDITED").replace(b'"a CPU"', b'"EDITED"')
    content = content.replace(b"2000.0", b"7777.0").replace(b"Title", b"EDITED")
    path.unlink() if gone else path.write_bytes(content + b"\n")
    after = shown(folder)
    assert link not in after and "EDITED" not in after and "7,777" not in after
    assert f"edited: {name}" in after and f"./run_all.sh {artifact} --record" in after
    entry = next(e for e in report.collect(folder) if e.artifact == artifact)
    assert entry.status == f"edited: {name}" and name in entry.notes[0]
    if name == "claims.csv":
        frame = pd.read_csv(folder / "summary.csv").set_index("artifact")
        assert frame.loc[artifact, ["claims", "reproduced"]].tolist() == [0, 0]
        assert "| edited |" in after


def test_a_file_that_no_batch_made_is_not_published(folder):
    (folder / "smart/table2_comparison/figure.png").write_bytes(PNG)
    assert "table2_comparison/figure.png" not in shown(folder)


def test_a_users_results_without_a_batch_are_shown_as_made_by_hand(folder):
    own = folder.parent / "local/quick"
    shutil.move(folder, own)
    (own / "smart/fig5_fgsm/inputs.json").unlink()
    text = shown(own)
    assert "Made by hand" in text and "fig5_fgsm/figure.png" in text and "--record" not in text
    assert "| made by hand, 1 / 1 / 0 / 0 |" in text and "1 partly (made by hand), in" in text
    entry = next(e for e in report.collect(own) if e.artifact == "smart/fig5_fgsm")
    assert entry.status == "made by hand" and entry.counts["reproduced"] == 1


def test_no_result_that_the_repository_keeps_is_published_without_the_note_of_a_batch(folder):
    home = folder / "smart/fig5_fgsm"
    (home / "inputs.json").unlink()
    (home / "claims.csv").write_text((home / "claims.csv").read_text().replace("SMART", "EDITED"))
    text = shown(folder)
    assert not re.search(r"fig5_fgsm/(figure|metrics|claims|run|fig5)|EDITED|by hand", text)
    assert "edited: inputs.json" in text and "| edited |" in text
    assert "./run_all.sh smart/fig5_fgsm --record" in text
    (named,) = report.edited(report.collect(folder))
    assert named.startswith("smart/fig5_fgsm (inputs.json, claims.csv")
    frame = pd.read_csv(folder / "summary.csv").set_index("artifact")
    assert frame.loc["smart/fig5_fgsm", ["claims", "reproduced"]].tolist() == [0, 0]


@pytest.mark.parametrize("content", ["", "[]", '{"outputs": 3}', '{"outputs": {}}'])
def test_a_damaged_note_vouches_for_nothing(folder, content):
    (folder / "smart/fig5_fgsm/inputs.json").write_text(content)
    text = shown(folder)
    assert "fig5_fgsm/figure.png" not in text and "edited: inputs.json" in text
    assert "Title of smart/table2_comparison" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("claims.csv", content) for content in (b"", b"id\n1\n", b"\0\0")),
        *((name, b"| a |\n|--|\n| \xff |\n") for name in ("table.md", "claims.csv", "run.json")),
        *((name, b"\xff") for name in ("metrics.csv", "table2_comparison.ipynb")),
    ],
)
def test_what_is_damaged_costs_its_artifact_a_note(folder, name, content):
    path = folder / "smart/table2_comparison" / name
    path.write_bytes(content)
    note(path.parent)
    assert f"nothing of it is shown: {name}" in shown(folder)
    one, other = (build(folder)[e] for e in ("smart/table2_comparison", "smart/fig5_fgsm"))
    assert name in one.notes[0] and not other.notes
    assert len(one.claims) == (0 if name == "claims.csv" else 2)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_json_in_any_file_leaves_report_and_plan_running(folder, data):
    made = plan.make(["smart/fig5_fgsm"], "quick", (0,), {})
    (study,) = made.studies.values()
    name = data.draw(st.sampled_from(["run.json", "inputs.json", "failure.json", "a.ipynb"]))
    content = data.draw(JSON)
    if name == "run.json" and data.draw(st.booleans()):
        content = json.loads((folder / "smart/table2_comparison/run.json").read_text())
        where = content
        while isinstance(where, dict) and where and data.draw(st.integers(0, 3)):
            inside, key = where, data.draw(st.sampled_from(sorted(where)))
            where = inside[key]
        if where is not content:
            inside[key] = data.draw(JSON)
    for home in (folder / "smart/fig5_fgsm", study.folder):
        home.mkdir(parents=True, exist_ok=True)
        path = home / name.replace("a.ipynb", "fig5_fgsm.ipynb")
        before = path.read_bytes() if path.is_file() else b""
        path.write_text(json.dumps(content))
        if name != "inputs.json" and (home / "metrics.csv").is_file():
            note(home)
        assert list(inputs.changes(study, made))
        assert "Title of smart/table2_comparison" in shown(folder)
        path.write_bytes(before) if before else path.unlink()


@settings(max_examples=200, deadline=None)
@given(UNTRUSTED)
@pytest.mark.parametrize(
    "plugins", [["table"], ["table", "strikethrough", "url", "math"]], ids=["ours", "GitHub's"]
)
def test_text_from_results_never_becomes_markup_but_code(plugins, text):
    render = mistune.create_markdown(escape=False, plugins=plugins)
    plain = "".join(markdown.SPAN.split(" ".join(text.split())))
    rest = {"p", "blockquote", "h2", "table", "thead", "tbody", "tr", "th", "td"}
    line, cell = markdown.line(text), markdown.cell(text)
    paragraphs = Page(render(f"> {line}\n\n{line}\n\n## x {line} y\n"))
    table = Page(render(f"| x |\n|---|\n| x {cell} y |\n"))
    for made, said in ((paragraphs, f"{plain}{plain}x{plain}y"), (table, f"xx{plain}y")):
        assert made.tags - rest <= {"code"}
        flat, wanted = ("".join(t.split()).replace("\\|", "|") for t in ("".join(made.text), said))
        assert flat == wanted


def test_the_page_over_all_presets_shows_what_each_has_lacks_and_changed(folder):
    custom = folder.parent / "quick-custom-abc123"
    shutil.copytree(folder / "smart/fig5_fgsm", custom / "smart/fig5_fgsm")
    changed = {"train.epochs": 3, "method.loop": "released"}
    rewrite(custom / "smart/fig5_fgsm/run.json", overrides=changed)
    for place in ("runs/0123456789abcdef/evaluations", "records/0123456789abcdef/evaluations"):
        (folder.parent / place).mkdir(parents=True)
        (folder.parent / place / "run.json").write_text("{}")
    own = folder.parent / "local/quick"
    shutil.copytree(folder, own)
    shutil.copytree(custom, folder.parent / "quick_of_before")
    assert {f.name: len(es) for f, es in report.build(folder.parent).items()} == {
        "quick": 2,
        "quick-custom-abc123": 1,
        "quick_of_before": 1,
    }
    html, text = ((folder.parent / name).read_text() for name in ("index.html", "RESULTS.md"))
    made = Page(html)
    assert not made.open
    assert "quick/index.html#smart-fig5_fgsm" in made.links
    assert "quick-custom-abc123/index.html#smart-fig5_fgsm" in made.links
    assert all((folder.parent / link.split("#")[0]).is_file() for link in made.links[1:])
    assert "(quick/RESULTS.md#smart-fig5_fgsm) | 2 | 1 | 1 | 0 | 0 | 61 | done |" in text
    for shown in (html, text, *(path.read_text() for path in pages_of(custom))):
        assert "train.epochs=3, method.loop=released" in shown
    for shown in (html, text):
        assert shown.count("Lacks") == 1 and "audit/published" in shown
    assert not (own.parent / "index.html").exists()
    report.build(own.parent)
    assert "quick/index.html#smart-fig5_fgsm" in (own.parent / "index.html").read_text()
    assert "--record" not in (own / "RESULTS.md").read_text()
