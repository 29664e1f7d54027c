"""The explorer as a reader meets it: JupyterLab and the page of `mmret app`, in a real browser."""

import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import ipywidgets
import pytest
from browsing import (
    CHROMIUM,
    FIRST,
    TOKEN,
    Watched,
    app_page,
    chromium,
    lab,
    notebook,
    run_all,
)
from hostile import CONTROL, HOSTILE
from own_photos import put
from PIL import Image
from playwright.sync_api import Locator, Page

from mmret_lib.files.errors import visible
from mmret_lib.show.app import QUICK, quick_runs

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"
    ),
    pytest.mark.skipif(
        ipywidgets.__version__.startswith("7."),
        reason="JupyterLab 4 and Voila show the widgets of ipywidgets 8, and 7 is installed",
    ),
]
KEPT = os.environ.get("MMRET_SCREENSHOTS")  # a folder: screenshots are kept there

QUICKLY = 30_000  # milliseconds for an answer once a kernel runs, on a machine that is busy

STATUS = ".mmret .status"
TABLE = ".mmret table"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def runs(folder) -> list[Path]:
    """Two models that have seen a few pictures: enough to answer, not to answer well."""
    return quick_runs(folder / "quick", size=192, config=replace(QUICK, epochs=1))


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(folder, runs):
    with app_page(folder, runs) as server:
        yield server


def test_photos_of_ones_own_in_the_browser(folder, runs, browser):
    """`mmret app --photos`: a sentence and a dropped photo find photos; nothing is asked abroad."""
    for n in range(8):
        put(folder / "album" / f"photo {n}.jpg", (30 * n, 90, 255 - 30 * n))
    with app_page(folder, [runs[0], "--photos", folder / "album"]) as server:
        watched = Watched(browser)
        page = watched.page
        page.goto(server.url)
        page.wait_for_selector(STATUS)
        ask(page, "a red bus")
        assert page.locator(".mmret .hits > li").count() == 8
        photo = (folder / "album" / "photo 3.jpg").read_bytes()
        page.evaluate(DROP, ["own.jpg", list(photo)])
        page.wait_for_selector(".mmret .asked img")
        assert "photo 3.jpg" in page.inner_text(FIRST) and "1.000" in page.inner_text(FIRST)
        keep(page, "photos", full_page=True)
        watched.context.close()
    assert watched.wrong == []


@pytest.fixture(scope="module")
def opened(server, browser):
    """One visit, so one kernel, for all tests of the page."""
    watched = Watched(browser)
    watched.page.goto(server.url)
    watched.page.wait_for_selector(FIRST)
    watched.page.wait_for_selector(TABLE)
    watched.page.set_default_timeout(QUICKLY)
    yield watched
    watched.context.close()


@pytest.fixture
def page(opened):
    """The page, at its top; whatever goes wrong on it, or leaves this machine, fails the test."""
    opened.page.evaluate("document.activeElement?.blur(); window.scrollTo(0, 0)")
    yield opened.page
    assert opened.wrong == []


def ask(page: Page, sentence: str) -> None:
    """Type it, press Enter, and wait for its own answer."""
    field = page.get_by_label("Sentence")
    field.fill(sentence)
    field.press("Enter")
    told(page, sentence)


def told(page: Page, sentence: str) -> None:
    """Wait until the page says what was asked: to the letter, and as text."""
    page.wait_for_function(
        "said => document.querySelector('.mmret .status bdi')?.textContent === said",
        arg=visible(sentence),
    )


def tab_to(page: Page, name: str, most: int = 60) -> None:
    """Press Tab until what has the focus is called so."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if name in (focus := focused(page)):
            return
    raise AssertionError(f"no Tab leads to {name}; the last one to {focus}")


def focused(page: Page) -> str:
    """What has the focus: the label of a field or slider, the text of a button."""
    return page.evaluate(
        """() => {
            const one = document.activeElement;
            if (['BUTTON', 'SUMMARY'].includes(one.tagName)) return one.textContent;
            if (!['INPUT', 'SELECT'].includes(one.tagName) && !one.role) return '';
            const row = one.closest('.jupyter-widgets');
            return (one.labels?.[0] ?? row?.querySelector('.widget-label'))?.textContent ?? '';
        }"""
    )


def changed(page: Page, selector: str, before: str) -> None:
    page.wait_for_function(
        "([where, before]) => document.querySelector(where).innerText !== before",
        arg=[selector, before],
    )


def to_top(part: Locator) -> None:
    """Scroll it into sight, without playwright's wait for two frames of a busy machine."""
    part.first.evaluate("one => one.scrollIntoView()")


def keep(page: Page, name: str, **options) -> bytes:
    return page.screenshot(path=Path(KEPT) / f"{name}.png" if KEPT else None, **options)


# ---------------------------------------------------------------- the page of `mmret app`


def test_the_page_opens_with_an_answer(page):
    assert page.title() == "mmret explorer"
    assert "Baby elephant plays in the water" in page.inner_text(STATUS)
    assert page.locator(".mmret .hits > li").count() == 5
    assert re.match(r"1\s", page.inner_text(FIRST))
    assert page.locator(".mmret .maps img").count() == 4
    picture = keep(page, "page", full_page=True)
    assert len(picture) > 50_000, "an empty page is a small picture"


def test_a_sentence_a_picture_and_two_losses(page):
    ask(page, "Red bus on the street")
    assert "The best 5 of 1,000 pictures" in page.inner_text(STATUS)
    first = page.locator(FIRST)
    caption = first.locator(".said").inner_text()
    assert first.locator("img").get_attribute("alt") == caption
    page.get_by_label("Beside it").select_option("Max Triplet")
    page.wait_for_function("document.querySelectorAll('.mmret .hits').length === 2")
    assert page.locator(".mmret .columns h3").all_inner_texts() == ["SimCLR", "Max Triplet"]
    page.get_by_title("Go on with answer 1", exact=True).click()
    page.wait_for_selector(".mmret .asked img")
    assert page.locator(".mmret .lines").count() == 2
    assert page.locator(".mmret .plain li").count() == 5
    keep(page, "two-losses", full_page=True)
    page.get_by_label("Beside it").select_option("—")
    page.wait_for_function("document.querySelectorAll('.mmret .lines').length === 1")


def test_it_works_by_the_keyboard_alone(page):
    tab_to(page, "Sentence")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Grazing zebra")
    page.keyboard.press("Enter")
    told(page, "Grazing zebra")
    tab_to(page, "Any picture")
    page.keyboard.press("Enter")
    page.wait_for_selector(".mmret .asked img")
    page.get_by_label("Sentence").focus()  # and Enter asks the sentence of before once more
    page.keyboard.press("Enter")
    told(page, "Grazing zebra")
    tab_to(page, "all its captions")
    page.keyboard.press("Enter")
    assert page.locator(".mmret details[open] li").count() == 4


def test_a_slider_moved_by_arrow_keys_changes_the_weights(page):
    tab_to(page, "Temperature")
    table, alt = page.inner_text(TABLE), page.locator(".mmret .maps img").nth(2)
    before = alt.get_attribute("alt")
    slider = page.locator(":focus")
    value = slider.get_attribute("aria-valuenow")
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    changed(page, TABLE, table)
    page.wait_for_function(
        "before => document.querySelectorAll('.mmret .maps img')[2].alt !== before", arg=before
    )
    assert slider.get_attribute("aria-valuenow") != value
    table = page.inner_text(TABLE)
    tab_to(page, "Query pair")
    page.keyboard.press("ArrowUp")
    changed(page, TABLE, table)
    to_top(page.locator(".mmret .maps"))
    keep(page, "weights")


def test_everything_says_what_it_is(page):
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('img, input, select, button, [role=slider]')]
            .filter(one => one.offsetParent && !(one.alt || one.title || one.ariaLabel ||
                one.labels?.length || one.textContent.trim() ||
                one.closest('.jupyter-widgets')?.querySelector('.widget-label')?.textContent))
            .map(one => one.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []
    assert page.locator(".mmret [role=status]").count() == 1
    # The order is in the document: headings, then fields, then answers.
    assert page.locator("h1, h2").all_inner_texts() == [
        "Say it, and find the picture",
        "How a loss weighs its negatives",
    ]


def test_hostile_sentences_stay_text(page):
    texts = one_line(HOSTILE)
    assert len(texts) >= 20
    for text in texts:
        ask(page, text)
        tags = page.locator(".mmret >> nth=0").evaluate(
            "one => [...one.querySelectorAll('*')].map(other => other.tagName)"
        )
        assert set(tags) <= OURS and tags.count("BDI") > 5
    keep(page, "hostile")


# The elements of which the explorer's answers consist.
OURS = {"B", "BDI", "DETAILS", "DIV", "H3", "H4", "I", "IMG"}
OURS |= {"LI", "OL", "P", "SECTION", "SPAN", "SUMMARY", "UL"}


def one_line(texts: list[str]) -> list[str]:
    """What a field of one line can hold."""
    return [text.strip() for text in texts if "\n" not in text]


def test_a_picture_of_ones_own_is_answered_with_captions(page, folder):
    Image.new("RGB", (80, 60), (220, 60, 40)).save(folder / "own.png")
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Your own").click()
    choosing.value.set_files(folder / "own.png")
    page.wait_for_selector(".mmret .asked img[alt='The picture that asks']")
    assert page.locator(".mmret .lines > li").count() == 5


DROP = """([name, bytes]) => {
    const dropped = new DataTransfer();
    dropped.items.add(new File([new Uint8Array(bytes)], name));
    for (const kind of ["dragover", "drop"])
        document.querySelector(".mmret").dispatchEvent(new DragEvent(
            kind, {bubbles: true, cancelable: true, dataTransfer: dropped}));
}"""


def test_a_picture_dropped_on_the_page_asks(page, folder):
    Image.new("RGB", (80, 60), (20, 60, 240)).save(folder / "dropped.png")
    page.evaluate(DROP, ["film.mov", list(b"no picture")])
    page.wait_for_selector(".mmret .alert")
    assert "Your picture is not an image" in page.inner_text(".mmret .alert")
    page.evaluate(DROP, ["own.png", list((folder / "dropped.png").read_bytes())])
    page.wait_for_selector(".mmret .asked img[alt='The picture that asks']")
    assert page.locator(".mmret .lines > li").count() == 5


def test_the_page_on_a_phone(page):
    page.set_viewport_size({"width": 400, "height": 800})
    ask(page, "Grazing zebra")
    assert page.evaluate("document.getElementById('rendered_cells').scrollWidth") <= 400
    keep(page, "phone", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 960})


def test_the_server_runs_nothing_that_a_browser_sends(page, folder):
    """Whoever can open the page could else do with this machine what they like."""
    target = folder / "written"
    code = f"open({str(target)!r}, 'w').write('x')"
    answered = page.evaluate(
        """async code => {
            const config = JSON.parse(document.getElementById('jupyter-config-data').textContent);
            const url = new URL(`/api/kernels/${config.kernelId}/channels`, location.href);
            const socket = new WebSocket(url.href.replace('http', 'ws'));
            const send = (type, content) => socket.send(JSON.stringify({
                header: {msg_id: type, msg_type: type, username: '', session: 'x', version: '5.3',
                         date: new Date().toISOString()},
                parent_header: {}, metadata: {}, content, channel: 'shell', buffers: []}));
            const answers = [];
            await new Promise((done, failed) => {
                socket.onerror = failed;
                socket.onopen = () => {
                    send('execute_request', {code, silent: false, store_history: false,
                         user_expressions: {}, allow_stdin: false, stop_on_error: true});
                    send('kernel_info_request', {});
                };
                socket.onmessage = event => {
                    if (typeof event.data !== 'string') return;
                    const header = JSON.parse(event.data).header;
                    answers.push(header.msg_type);
                    if (header.msg_type === 'kernel_info_reply') done();
                };
            });
            socket.close();
            return answers;
        }""",
        code,
    )
    assert "kernel_info_reply" in answered and "execute_reply" not in answered
    assert not target.exists()


def test_only_this_machine_by_its_own_name_is_answered(server):
    def status(host: str) -> int:
        nowhere = f"{server.url}/api/kernels/00000000-0000-0000-0000-000000000000"
        request = urllib.request.Request(nowhere, headers={"Host": f"{host}:{server.port}"})
        try:
            return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).status
        except urllib.error.HTTPError as error:
            return error.code

    assert [status(host) for host in ("127.0.0.1", "localhost", "evil.example")] == [404, 404, 403]
    said = server.log.read_text()
    assert f"the page: http://127.0.0.1:{server.port}/" in said and "warning" not in said


# ---------------------------------------------------------------- JupyterLab

SETUP = """
from dataclasses import replace
from mmret_lib.training import load_run
from mmret_lib.data import load_pairs
from mmret_lib.search import SearchIndex
from mmret_lib.show.explorer import SearchExplorer
from mmret_lib.show.push import NegativeWeights

pairs = load_pairs("scenes", split="test", size=40, progress=False)
indexes = {{
    name: SearchIndex.build(load_run(run)[0], pairs, progress=False)
    for name, run in {runs}.items()
}}
index = indexes["simclr"]
""".strip()

# Every caption is a hostile one, and so is the name of a loss.
HOSTILE_SETUP = """
import json
with open("texts.json") as file:
    texts = json.load(file)
some = pairs.subset(range(20))
hostile = replace(some, captions=(texts * len(some))[: len(some.captions)])
bad = SearchIndex(index.model, hostile, index.image_emb[:20], index.text_emb[:100])
""".strip()


@pytest.fixture(scope="module")
def jupyter(folder, runs, browser):
    """A notebook of the course in JupyterLab, all its cells run."""
    with lab(folder) as server:
        (folder / "root" / "texts.json").write_text(json.dumps([*HOSTILE, CONTROL]))
        notebook(
            folder / "root" / "play.ipynb",
            SETUP.format(runs={run.name: str(run) for run in runs}),
            'print(*index.by_text("Red bus on the street", k=1)[0].captions, sep="\\n")',
            'SearchExplorer(indexes, query="Grazing zebra")',
            "captions = [pairs.captions_of(i)[0] for i in range(16)]\n"
            "NegativeWeights(index.image_emb[:16], index.text_emb[:80:5], captions,"
            " pairs.images[:16])",
            HOSTILE_SETUP,
            'SearchExplorer({"<b>bad</b><img src=x onerror=alert(1)>": bad}, k=20, query=texts[0])',
        )
        watched = Watched(browser, viewport={"width": 1280, "height": 1600})
        watched.page.goto(f"{server.url}/lab/tree/play.ipynb?token={TOKEN}&reset")
        run_all(watched.page)
        watched.page.locator(".jp-CodeCell").nth(5).locator(FIRST).wait_for()
        watched.page.set_default_timeout(QUICKLY)
        yield watched
        watched.context.close()


@pytest.fixture
def cells(jupyter):
    """The notebook's cells; nothing may go wrong, or leave this machine."""
    yield jupyter.page.locator(".jp-Notebook .jp-CodeCell")
    assert jupyter.wrong == []


def test_the_widgets_in_jupyterlab(cells, jupyter):
    page, explorer = jupyter.page, cells.nth(2)
    explorer.locator(FIRST).wait_for()
    assert explorer.locator(".mmret .hits > li").count() == 5
    field = explorer.get_by_label("Sentence")
    assert field.input_value() == "Grazing zebra"
    field.fill("Red bus on the street")
    field.press("Enter")
    explorer.locator(".mmret .status bdi", has_text="Red bus on the street").wait_for()
    captions = cells.nth(1).locator(".jp-OutputArea-output").inner_text().strip().split("\n")
    first = explorer.locator(FIRST)
    assert first.locator(".said").inner_text() == captions[0]
    assert first.locator("img").get_attribute("alt") == captions[0]
    explorer.get_by_label("Beside it").select_option("Max Triplet")
    explorer.locator(".mmret h3", has_text="Max Triplet").wait_for()
    to_top(explorer)
    keep(page, "lab")


def test_a_slider_in_jupyterlab_by_the_keyboard(cells, jupyter):
    weights = cells.nth(3)
    table = weights.locator(TABLE)
    table.wait_for()
    before = table.inner_text()
    temperature = weights.get_by_role("slider").first
    temperature.focus()
    temperature.press("Home")
    temperature.press("ArrowRight")
    jupyter.page.wait_for_function(
        "([cell, before]) => cell.querySelector('.mmret table').innerText !== before",
        arg=[weights.element_handle(), before],
    )
    assert float(weights.locator(".widget-readout").first.inner_text()) == 0.010
    to_top(weights)
    keep(jupyter.page, "lab-weights")


def test_hostile_captions_stay_text_in_jupyterlab(cells, jupyter):
    explorer = cells.nth(5)
    explorer.locator(FIRST).wait_for()
    texts = {visible(text) for text in [*HOSTILE, CONTROL]}
    shown = set(explorer.locator(".mmret bdi").all_text_contents())
    assert shown >= texts and len(shown - texts) <= 1  # the one more is the name of the loss
    alts = {one.get_attribute("alt") for one in explorer.locator(".mmret img").all()}
    assert alts <= texts and len(alts) >= 15
    tags = explorer.evaluate(
        "cell => [...cell.querySelectorAll('.mmret *')].map(one => one.tagName)"
    )
    assert set(tags) <= OURS
    explorer.get_by_role("button", name="Any picture").click()
    explorer.locator(".mmret .asked img").wait_for()
    to_top(explorer)
    keep(jupyter.page, "lab-hostile")
