"""The command and its report: continued after a stop, readable in a real browser without a script."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from server.browser import Watched, axe_violations, chromium, context
from server.running import serving

from dsvd_registry.cli import main
from dsvd_registry.evaluation.live_pipeline import LivePipeline

from .conftest import Studio

FILES = ("index.html", "report.md", "report.json")


@pytest.fixture(scope="module")
def words(studio: Studio) -> list[str]:
    """The command for one quick report, without its folder."""
    prompts = studio.folder / "one.txt"
    prompts.write_text("a photo of {} <b>&\n")
    return [
        "--registry",
        str(studio.registry.folder),
        "evaluate",
        "subject",
        f"--pipeline={studio.pipeline}",
        f"--reference={studio.folder / 'photographs' / 'subject'}",
        f"--prompts={prompts}",
        "--token=sks",
        "--class=dog",
        "--taus=0.8,0.2",
        "--seeds=0-1",
        "--steps=2",
        "--with=int8",
    ]


@pytest.fixture(scope="module")
def report(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "report"
    assert main([*words, "-o", str(folder)]) == 0
    return folder


def test_a_killed_run_gives_the_same_report(
    words: list[str], report: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """As Ctrl-C or a SIGTERM ends it; then with the pipeline gone wrong, as nothing is missing."""
    folder, real, painted = tmp_path / "report", LivePipeline.paint, []

    def stopping(self, *arguments):
        if len(painted) == 7:
            raise KeyboardInterrupt
        painted.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(LivePipeline, "paint", stopping)
    assert main([*words, "-o", str(folder)]) != 0
    assert len(list((folder / "pictures").iterdir())) == 7
    assert not (folder / "report.json").exists()
    monkeypatch.setattr(LivePipeline, "paint", real)
    capsys.readouterr()
    assert main([*words, "-o", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    for name in FILES:
        assert (folder / name).read_bytes() == (report / name).read_bytes(), name
    whole = json.loads((report / "report.json").read_text())
    assert said.pop("report") == str(folder / "index.html")
    assert said == {key: whole[key] for key in said}
    assert len(whole["pictures"]) == 6 * 2
    for row in whole["pictures"]:
        assert (report / row["file"]).is_file()


def test_the_document(report: Path) -> None:
    whole = json.loads((report / "report.json").read_text())
    rows = {row["model"]: row for row in whole["models"]}
    assert list(rows) == [
        "base", "fine-tune", "fine-tune in fp16", "int8 per channel", "tau 0.8", "tau 0.2",
    ]  # fmt: skip
    assert rows["fine-tune"]["measures"]["ssim"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert rows["fine-tune"]["measures"]["psnr"]["mean"] is None
    assert rows["tau 0.2"]["bytes"] < rows["tau 0.8"]["bytes"] < rows["fine-tune"]["bytes"]
    columns = {column["key"]: column for column in whole["columns"]}
    digest = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    assert columns["cosine EfficientNet-Lite0"]["weights"] == digest
    assert columns["text clip"]["empty_because"] == "no --weights clip=PATH was given"
    text = (report / "report.md").read_text()
    assert "| tau 0.2 |" in text and "There is one subject" in text and digest in text


def test_in_a_browser(report: Path) -> None:
    page_file = report / "index.html"
    raw = page_file.read_text()
    assert "<script" not in raw
    assert not re.search(r'(src|href)="(?!data:)', raw)
    with chromium() as browser:
        for scheme, size in (("light", "wide"), ("dark", "phone")):
            with context(browser, scheme, size) as window:
                watched = Watched(window)
                watched.page.goto(page_file.as_uri())
                assert watched.seen == []
                assert [url for url in watched.requests if not url.startswith("data:")] == [
                    page_file.as_uri()
                ]
                assert axe_violations(watched.page) == []
                pictures = watched.page.locator("table.sheet img")
                assert pictures.count() == 6 * 2 * 2
                assert all(
                    pictures.nth(number).evaluate("image => image.naturalWidth") == 32
                    for number in (0, 23)
                )
                assert watched.page.get_by_text("sks dog <b>&").count() > 0
                assert watched.page.locator("svg .spot").count() > 10
                assert watched.page.evaluate(
                    "document.documentElement.scrollWidth <= window.innerWidth"
                )
        with context(browser, java_script_enabled=False) as window:
            page = window.new_page()
            page.goto(page_file.as_uri())
            assert page.locator("table").first.is_visible()
            assert page.locator("svg").first.is_visible()


def test_attached_to_its_version(report: Path, studio: Studio, tmp_path: Path) -> None:
    """The pages link it and show it; nothing in a page of that role runs, whoever wrote it."""
    hostile = tmp_path / "hostile.html"
    hostile.write_text(
        "<!doctype html><title>still</title><p>read me</p>"
        "<script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\">"
    )
    attached = [
        studio.registry.attach("subject", file) for file in (report / "index.html", hostile)
    ]
    assert [(one.role, one.media_type) for one in attached] == [("report", "text/plain")] * 2
    with (
        serving(studio.registry.folder, tmp_path) as server,
        chromium() as browser,
        context(browser) as window,
    ):
        page = window.new_page()
        page.goto(f"{server.url}/versions/subject@1")
        assert axe_violations(page) == []
        page.get_by_role("link", name="index.html").click()
        assert page.locator("h1").inner_text() == "Does it still look like the subject?"
        picture = page.locator("table.sheet img").first
        assert picture.evaluate("image => image.naturalWidth") == 32
        page.goto(f"{server.url}/api/v1/versions/subject@1/attachments/hostile.html")
        assert page.get_by_text("read me").is_visible()
        assert page.title() == "still"
        answer = server.get("/api/v1/versions/subject@1/attachments/index.html")
        assert answer.body == (report / "index.html").read_bytes()
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_refusals(words: list[str], studio: Studio, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("mine")
    for changed, code, said in (
        (["-o", str(tmp_path / "mine")], 4, "is not the folder of a report"),
        (["-o", str(studio.registry.folder / "report")], 4, "lies in the folder of the registry"),
        (["-o", str(tmp_path / "r"), "--with=int4"], 2, "--with 'int4' is not known"),
        (["-o", str(tmp_path / "r"), "--weights=clip"], 2, "is not of the form NAME=PATH"),
        (["-o", str(tmp_path / "r"), "--seeds=3-1"], 2, "is not a list of seeds"),
        (["-o", str(tmp_path / "r"), "--with=lora=a", "--with=lora=b"], 2, "2 files of LoRA"),
        (["-o", str(tmp_path / "r"), "--margin=2"], 2, "is not between 0 and 1"),
        (["-o", str(tmp_path / "r"), "--taus=0.95"], 10, "does not store tau 0.95"),
        (["-o", str(tmp_path / "r"), "--weights=clip=none"], 2, "there are no weights at none"),
    ):
        assert main([*words, *changed]) == code, changed
        assert said in capsys.readouterr().err
    assert (tmp_path / "mine" / "diary.txt").read_text() == "mine"
    assert not (studio.registry.folder / "report").exists()
