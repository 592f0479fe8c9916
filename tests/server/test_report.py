"""The report, in a real browser."""

import io
import itertools
import json
import os
import shutil
import time

import numpy as np
import psycopg2
import psycopg2.extras
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.fixtures.servers import Clone
from tests.helpers import store

HOSTILE = """</script><script>document.title = "caught"</script> & 'quoted' "twice" <b>bold</b> 👢"""

# Where an item is on the screen, once the map is drawn.
PLACE = """
const models = [...Bokeh.documents[0].all_models];
const plot = models.find((model) => model.name === "map");
const source = models.find((model) => model.name === "items");
const view = Bokeh.index.find_one(plot);
if (!view?.frame?.x_scale || !source.data.title?.length) { return null; }
document.getElementById("plot").scrollIntoView({ block: "center" });
const corner = view.el.getBoundingClientRect();
const row = source.data.title.indexOf(arguments[0]);
return [corner.left + view.frame.x_scale.compute(source.data.x[row]),
        corner.top + view.frame.y_scale.compute(source.data.y[row])].map(Math.round);
"""

TOOLTIPS = """
const all = (root) => [...root.querySelectorAll("*")].flatMap((e) => e.shadowRoot ? [e, ...all(e.shadowRoot)] : [e]);
return all(document).filter((e) => e.className === "tip").map((e) => e.textContent).join();
"""


@pytest.fixture(scope="module")
def chromium():
    """A browser; the tests of this file share it."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("there is no Chromium")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


class Page:
    """A report in the browser."""

    def __init__(self, driver, path, width: int = 1280, dark: bool = False):
        self.driver = driver
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.get_log("browser")
        driver.get_log("performance")
        driver.get(path.as_uri())
        self.wait(lambda _: self.run("return document.documentElement.dataset.ready") == "true")

    def wait(self, condition):
        return WebDriverWait(self.driver, 30, 0.05).until(condition)

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def one(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def heading(self) -> str:
        return self.one("#panel-heading").text

    def position(self, title: str) -> list[int]:
        """Where an item is on the map, when it has come to rest."""
        before = None

        def rests(_):
            nonlocal before
            now = self.run(PLACE, title)
            same, before = now is not None and now == before, now
            return same and now

        return self.wait(rests)

    def point_at(self, position: list[int], click: bool = False) -> None:
        actions = ActionChains(self.driver)
        actions.w3c_actions.pointer_action.move_to_location(*position)
        if click:
            actions.click()
        actions.perform()

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Whatever was asked of the network or the file system."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        urls = (m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent")
        return [url for url in urls if not url.startswith(("data:", "blob:"))]


@pytest.fixture(scope="module")
def with_map(stage, with_classifier, boots) -> str:
    def fill(db):
        db.pix("load", "metadata", boots / "metadata.json.gz")
        db.ask("UPDATE pix.items SET title = %s WHERE item_id = (SELECT min(item_id) FROM pix.items)", (HOSTILE,))
        db.ask("SELECT pix.fit_clusters('looks', k => 6)")
        db.ask("SELECT pix.fit_map('everything')")

    return stage("mapped", with_classifier, fill)


@pytest.fixture
def mapped(clone, with_map):
    """The drawn boots with titles, clusters and a map; one of them has a hostile title."""
    return clone(with_map)


@pytest.fixture(scope="module")
def page_file(server, with_map, tmp_path_factory):
    """Their report, which tests look at."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert "report.html: " in Clone(server, server.name(with_map)).pix("report", path, role="rita").stdout
    return path


def test_it_loads_without_errors_or_network(chromium, page_file):
    assert page_file.stat().st_size < 3_000_000
    page = Page(chromium, page_file)
    assert page.position(HOSTILE)
    assert page.errors() == []
    assert page.requests() == [page_file.as_uri()]
    assert chromium.title == "Pixelplum report: mini_inception"
    assert "60 items, 60 images" in page.one("header").text
    assert len(page.all("[data-gallery]")) == 6
    assert "accuracy" in page.one("main").text.lower()
    for image in page.all("img"):
        assert image.get_attribute("alt"), image.get_attribute("outerHTML")[:200]
    levels = page.run("return [...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))")
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_hovering_and_clicking(chromium, mapped, page_file):
    ((title,),) = mapped.ask("SELECT title FROM pix.items WHERE price IS NOT NULL ORDER BY item_id DESC LIMIT 1")
    page = Page(chromium, page_file)
    position = page.position(title)
    page.point_at([position[0] + 300, position[1]])
    page.point_at(position)
    shown = page.wait(lambda _: page.run(TOOLTIPS))
    page.point_at(position, click=True)
    page.wait(lambda _: page.heading() != "Look-alikes")
    # Where thumbnails overlap, hovering and clicking choose the same one.
    item_id = page.one(".chosen small").text.split(" · ")[-1]
    ((title, price, cluster),) = mapped.ask(
        "SELECT i.title, coalesce(i.price::text, ''), m.cluster FROM pix.items i "
        "JOIN pix.cluster_members m USING (item_id) WHERE i.item_id = %s", (item_id,),
    )  # fmt: skip
    assert page.heading() == f"Look-alikes of {title}"
    assert title in shown
    assert f"{price} cluster {cluster}".strip() in shown
    neighbors = mapped.ask(
        "SELECT i.title FROM pix.nearest(%s, k => 6) n JOIN pix.items i USING (item_id) ORDER BY n.rank", (item_id,)
    )
    assert [entry.text.splitlines()[0] for entry in page.all(".alike li span")] == [name for (name,) in neighbors]
    assert page.errors() == []


def test_colors_and_legend(chromium, page_file):
    page = Page(chromium, page_file)
    color = Select(page.one("#color"))
    assert {"cluster", "heel", "shaft", "style"} <= {option.text for option in color.options}
    colors = "return [...Bokeh.documents[0].all_models].find((m) => m.name === 'items').data.%s"
    by_cluster = page.run(colors % "color")
    assert len(set(by_cluster)) == 6
    color.select_by_visible_text("heel")
    assert page.run(colors % "color") != by_cluster
    names = {chip.text.split(" (")[0].strip() for chip in page.all("#legend button")}
    assert names == set(page.run(colors % "group"))
    page.all("#legend button")[0].click()
    assert len(set(page.run(colors % "alpha"))) == 2
    pressed = page.all("#legend button[aria-pressed=true]")
    assert len(pressed) == 1
    pressed[0].click()
    assert set(page.run(colors % "alpha")) == {1}


def test_by_keyboard(chromium, page_file):
    page = Page(chromium, page_file)
    image = page.one("[data-gallery] button")
    title = image.get_attribute("title")
    page.run("arguments[0].focus()", image)
    chromium.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait(lambda _: page.heading() == f"Look-alikes of {title}")
    assert chromium.switch_to.active_element.get_attribute("id") == "panel-heading"
    chromium.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.wait(lambda _: page.heading() == "Look-alikes")
    assert chromium.switch_to.active_element.get_attribute("title") == title
    field = page.one("#find")
    field.send_keys(title, Keys.ENTER)
    page.wait(lambda _: page.heading() == f"Look-alikes of {title}")
    field.clear()
    field.send_keys("nothing of this name", Keys.ENTER)
    page.wait(lambda _: "nothing of this name" in page.one("#found-none").text)


def test_hostile_titles_are_text(chromium, page_file):
    page = Page(chromium, page_file)
    page.one("#find").send_keys("</script>", Keys.ENTER)
    page.wait(lambda _: page.heading() == f"Look-alikes of {HOSTILE}")
    assert page.all("b") == []
    assert chromium.title.startswith("Pixelplum")


def test_on_a_phone(chromium, page_file):
    page = Page(chromium, page_file, width=390)
    assert page.run("return document.documentElement.scrollWidth") <= 390
    assert not page.one("#panel").is_displayed()
    page.run("arguments[0].click()", page.one("[data-gallery] button"))
    assert page.one("#panel").is_displayed()
    assert page.run("return document.documentElement.scrollWidth") <= 390


def test_light_and_dark(chromium, page_file):
    looks = {}
    for dark in (False, True):
        page = Page(chromium, page_file, dark=dark)
        page.position(HOSTILE)
        image = chromium.get_screenshot_as_png()
        with Image.open(io.BytesIO(image)) as shot:
            looks[dark] = np.asarray(shot.convert("L"))[:60, :].mean()
        ink = "return [...Bokeh.documents[0].all_models].find((m) => m.type === 'LinearAxis').major_label_text_color"
        looks[dark, "ink"] = page.run(ink)
    assert looks[False] > 200
    assert looks[True] < 60
    assert looks[False, "ink"] != looks[True, "ink"]


def test_likes_and_regrets(chromium, mapped, tmp_path):
    path = tmp_path / "report.html"
    mapped.pix("report", path, role="rita")
    assert "There are no votes yet" in Page(chromium, path).one("main").text
    for policy in ("thompson", "random"):
        mapped.ask(
            "SELECT pix.simulate(%s, pix.users_who_like('heel', 2, liked_labels => 1), 5, keep => true)", (policy,)
        )
    mapped.pix("report", path, role="rita")
    page = Page(chromium, path)
    assert page.errors() == []
    for message in ("What people like", "Which policy finds it out?"):
        assert message in page.one("main").text
    drawn = page.run(
        "return Bokeh.index.roots.map((root) => root.model.y_range && root.model.left[0].axis_label).filter(Boolean)"
    )
    assert {"fraction of likes", "likes that were missed"} <= set(drawn)


def test_what_the_network_sees(chromium, mapped, tmp_path):
    ((item_id,),) = mapped.ask("SELECT max(item_id) FROM pix.images")
    mapped.pix("report", tmp_path / "seen.html", "--feature-maps", item_id)
    page = Page(chromium, tmp_path / "seen.html")
    assert page.one("#sight-heading").text.endswith(item_id)
    assert len(page.all(".sheet img")) > 20
    refused = mapped.pix("report", tmp_path / "seen.html", "--feature-maps", "nothing", check=False)
    assert "Item nothing has no image" in refused.stderr


def test_failures_a_chosen_number_and_levels(chromium, mapped, tmp_path):
    mapped.ask("INSERT INTO pix.images (item_id, content) VALUES ('broken', 'no image')")
    mapped.ask("CALL pix.extract_features()")
    mapped.ask("SELECT pix.fit_clusters('tree', algorithm => 'ward', k => NULL, max_k => 6)")
    mapped.pix("report", tmp_path / "report.html")
    page = Page(chromium, tmp_path / "report.html")
    text = page.one("main").text
    assert "broken" in page.one("table").text
    assert "How many clusters?" in text
    assert "in cluster" in text
    assert page.errors() == []


def test_while_images_wait_for_extraction(mapped, tmp_path):
    """The page is made when it is needed most; odd prices and endless titles do not keep it."""
    mapped.ask(
        "UPDATE pix.images SET content = (SELECT content FROM pix.images ORDER BY item_id DESC LIMIT 1) "
        "WHERE item_id = (SELECT min(item_id) FROM pix.images)"
    )
    mapped.ask("UPDATE pix.items SET price = 'NaN', title = repeat('long <b>', 20000)")
    mapped.pix("report", tmp_path / "report.html")
    assert tmp_path.joinpath("report.html").stat().st_size < 3_000_000


def test_without_clusters_and_map(chromium, extracted, tmp_path):
    extracted.pix("report", tmp_path / "bare.html", role="rita")
    page = Page(chromium, tmp_path / "bare.html")
    text = page.one("main").text
    for command in ("pix map fit", "pix cluster fit", "pix classifier train"):
        assert command in text
    page.one("#strips button").click()
    page.wait(lambda _: page.heading() != "Look-alikes")
    assert page.errors() == []


def test_other_maps_and_models(mapped, tmp_path):
    page = tmp_path / "report.html"
    mapped.ask("SELECT pix.fit_map('one', clustering => 'looks', cluster => 1)")
    mapped.pix("report", page, "--map", "one", "--clustering", "looks")
    assert page.stat().st_size > 100_000
    for options, message in (
        (("--map", "nothing"), "'nothing' is not known"),
        (("--clustering", "nothing"), "'nothing' is not known"),
        (("--model", "nothing"), "'nothing' is not known"),
    ):
        assert message in mapped.pix("report", page, *options, check=False).stderr
    store(mapped, "other", np.random.default_rng(1).normal(size=(9, 4)))
    refused = mapped.pix("report", page, "--map", "one", "--model", "other", check=False)
    assert "of model mini_inception, not of other" in refused.stderr


def test_files_that_cannot_be_written(extracted, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target, message in (
        (tmp_path, "is a folder"), (tmp_path / "no" / "report.html", "There is no folder"),
        (tmp_path / "pipe", "is not a regular file"),
    ):  # fmt: skip
        refused = extracted.pix("report", target, check=False)
        assert refused.returncode == 1
        assert message in refused.stderr
    extracted.ask("DELETE FROM pix.features")
    (tmp_path / "report.html").write_text("before")
    refused = extracted.pix("report", tmp_path / "report.html", check=False)
    assert "no items with features" in refused.stderr
    assert (tmp_path / "report.html").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "pipe"}


def test_a_link_is_followed(extracted, tmp_path):
    (tmp_path / "link.html").symlink_to(tmp_path / "report.html")
    extracted.pix("report", tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "report.html").stat().st_size > 1_000_000


@pytest.mark.exhaustive
def test_thousands_of_items(chromium, db, boots, tmp_path):
    """Of 5,000, 3,000 are shown, every cluster among them, in a page below 15 MB that is soon drawn."""
    images = [path.read_bytes() for path in sorted((boots / "images").iterdir())]
    random = np.random.default_rng(5)
    vectors = random.normal(size=(30, 16))[np.arange(5000) % 30] * 3 + random.normal(size=(5000, 16))
    db.ask("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('many', 16, 'a test')")
    with db.session("ada").cursor() as cursor:
        psycopg2.extras.execute_values(
            cursor, "INSERT INTO pix.images (item_id, content) VALUES %s",
            [(f"m{n:04}", images[n % 60] + n.to_bytes(4, "big")) for n in range(5000)], page_size=200,
        )  # fmt: skip
        psycopg2.extras.execute_values(
            cursor, "INSERT INTO pix.features (item_id, model_name, vector) VALUES %s",
            [(f"m{n:04}", "many", psycopg2.Binary(v.astype(np.float32).tobytes())) for n, v in enumerate(vectors)],
        )  # fmt: skip
    db.ask("SELECT pix.fit_clusters('looks', 'many', k => 30)")
    db.ask("SELECT pix.fit_map('plane', 'many', 'pca')")
    db.pix("report", tmp_path / "many.html", "--model", "many")
    assert (tmp_path / "many.html").stat().st_size < 15_000_000
    begun = time.monotonic()
    page = Page(chromium, tmp_path / "many.html")
    assert time.monotonic() - begun < 30
    text = page.one("header").text
    assert "3,000 of 5,000" in text
    assert len(page.all("[data-gallery]")) == 30
    assert page.errors() == []
