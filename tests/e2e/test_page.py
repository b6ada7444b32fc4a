"""The page in a real browser, against real processes: drawing, watching, keeping, and who can use it."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect

from demo_model.judge import look
from demo_model.outlines import outline_image
from demo_model.world import Scene, Thing
from shared.request.schemas import Img2ImgSchema
from shared.request.titles import TITLES
from tests.e2e.browser import MISSING, chromium, draw, find_chromium
from tests.e2e.service import Service

expect.set_options(timeout=60_000)  # a loaded machine takes its time
OpenPage = Callable[..., Page]
PASTE = """(bytes) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([Uint8Array.from(bytes)], "image.png", { type: "image/png" }));
    const pasted = new ClipboardEvent("paste", { clipboardData, bubbles: true });
    document.querySelector("#field-prompt").dispatchEvent(pasted);
}"""
# of whom nobody is to be shut out; `page.evaluate` is not bound by the page's policy
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium: skip with a clear word where there is none, but fail in CI."""
    if find_chromium() is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with chromium() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, service: Service) -> Iterator[OpenPage]:
    """Open the page as a person does for the first time; `url` and whatever a browser context takes."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_(url: str = service.url, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
        page.goto(url)
        page.locator("#draw").wait_for()
        return page

    yield open_
    for context in contexts:
        context.close()
    assert faults == [], "the page has no errors, and never meets its policy"


def set_more(page: Page, **values: object) -> None:
    """Open what stands behind the switch, and fill fields by their wire names."""
    if page.locator(".more[open]").count() == 0:
        page.get_by_text("More settings").click()
    for name, value in values.items():
        page.locator(f"#field-{name}").fill(str(value))


def newest_prompt(page: Page) -> Any:
    return page.locator(".stage .caption .prompt")


def drop(page: Page, data: bytes, name: str, target: str = "main") -> None:
    """Let a file fall onto the page."""
    transfer = page.evaluate_handle(
        """([bytes, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(bytes)], name, { type: "image/png" }));
            return transfer;
        }""",
        [list(data), name],
    )
    page.dispatch_event(target, "drop", {"dataTransfer": transfer})


def png(size: tuple[int, int] = (96, 64), colour: str = "teal", **texts: str) -> bytes:
    chunks = PngInfo()
    for keyword, text in texts.items():
        chunks.add_itxt(keyword, text)
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG", pnginfo=chunks)
    return out.getvalue()


def sent_mask(request: Request) -> Image.Image:
    """The mask of a request, in shades of grey."""
    data = json.loads(request.post_data or "{}")["mask"].partition("base64,")[2]
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("L")


def shown_images(page: Page, service: Service) -> list[PngImageFile]:
    """All images of the job whose image is shown large, once it is done."""
    final = page.locator(".stage .final")
    expect(final).to_be_visible()
    expect(page.locator(".stage .state")).to_have_text(re.compile("Done in"))
    job_id = (final.get_attribute("src") or "").partition("/images/")[2].partition("/")[0]
    links = service.get(f"/status/{job_id}?result=false").json()["Images"]
    return [PngImageFile(io.BytesIO(service.get(link).content)) for link in links]


#: The ways to write a request down that this machine can run; it need not have a program for JavaScript.
RUNNABLE = ("curl", "python", "curl-openai", "python-openai")


def programs(page: Page) -> dict[str, str]:
    """The request of the image that is looked at, by the way it is written down."""
    chosen, written = page.locator("#request-way"), {}
    for way in chosen.locator("option").evaluate_all("(options) => options.map((each) => each.value)"):
        chosen.select_option(way)
        written[way] = page.locator(".requests code").inner_text()
    return written


def texts_of_the_image(way: str, text: str, folder: Path) -> dict[str, str]:
    """What the PNG carries that such a program writes, run in a folder."""
    program = [sys.executable, "-c", text] if way.startswith("python") else ["bash", "-c", text]
    done = subprocess.run(program, cwd=folder, capture_output=True)
    assert done.returncode == 0, (way, text, done.stderr.decode())
    with PngImageFile(folder / "image.png") as image:
        found = {name: str(value) for name, value in image.text.items()}
    (folder / "image.png").unlink()
    return found


def shut_out(page: Page) -> list[str]:
    """What axe-core finds serious or critical."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found if each["impact"] in SERIOUS]


def test_drawing_is_watched_kept_and_found_again(open_page: OpenPage, service: Service) -> None:
    """Given a prompt, when Ctrl+Enter draws it, then previews come, the title counts, the image fades in, and after a
    reload it is in the gallery, found by its words."""
    page = open_page()
    prompt = "a red circle <img src=x onerror=alert(1)>"
    set_more(page, ddim_steps=40, W=192, H=192, seed=11)
    titles: list[str] = []
    page.expose_function("titled", lambda title: titles.append(title))
    page.evaluate(
        "() => new MutationObserver(() => titled(document.title))"
        ".observe(document.querySelector('title'), { childList: true })"
    )

    draw(page, prompt)

    expect(page.locator(".stage .preview")).to_be_visible()
    expect(page.locator(".stage [role=progressbar]")).to_have_attribute("aria-valuetext", re.compile("Step .* of 40"))
    image = page.locator(".stage .final")
    expect(image).to_be_visible()
    expect(page.locator(".stage .preview")).to_have_count(0)
    expect(page.locator(".stage .state")).to_have_text(re.compile(r"Done in [\d.]+ s · seed 11"))
    expect(page.locator(".unseen[role=status]")).to_have_text(re.compile("Done"))
    expect(page).to_have_title("Personal Diffusion")
    assert any(re.match(r"\d+ % ", title) for title in titles), titles

    page.reload()
    expect(newest_prompt(page)).to_have_text(prompt)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(prompt)
    expect(page.locator("#field-seed")).to_have_value("11")
    page.get_by_role("searchbox").fill("onerror 11")
    expect(page.locator(".tile")).to_have_count(1)
    page.get_by_role("searchbox").fill("words that nobody wrote")
    expect(page.locator(".tile")).to_have_count(0)


def test_jobs_are_cancelled_one_and_all(open_page: OpenPage) -> None:
    """Given three long jobs, when one is cancelled and then the rest, then each leaves the queue, and it is said."""
    page = open_page()
    set_more(page, ddim_steps=999)
    for prompt in ("the first", "the second", "the third"):
        draw(page, prompt)
    expect(page.locator(".queue .job")).to_have_count(3)

    page.get_by_role("button", name="Cancel: the second").click()
    expect(page.locator(".queue .job")).to_have_count(2)
    assert "the second" not in page.locator(".queue").inner_text()

    page.reload()
    expect(page.locator(".queue .job")).to_have_count(2)
    page.get_by_role("button", name="Cancel all mine").click()
    expect(page.locator(".queue")).to_have_count(0)
    expect(page.locator(".unseen[role=status]")).to_have_text("Cancelled.")


def test_what_is_wrong_stands_beside_its_field(open_page: OpenPage) -> None:
    """Given a value out of bounds, when it is sent, then its field says so, is focused, and is right once mended."""
    page = open_page()
    set_more(page, ddim_steps=5000)
    draw(page, "a blue star")

    steps = page.locator("#field-ddim_steps")
    expect(page.locator("#ddim_steps-error")).to_have_text(re.compile("999"))
    expect(steps).to_be_focused()
    expect(steps).to_have_attribute("aria-invalid", "true")
    assert "ddim_steps-error" in (steps.get_attribute("aria-describedby") or "")
    assert shut_out(page) == []

    steps.fill("3")
    expect(page.locator("#ddim_steps-error")).to_have_count(0)
    page.locator("#draw").click()
    expect(page.locator(".stage .final")).to_be_visible()


def test_the_form_is_the_services_own(open_page: OpenPage, service: Service) -> None:
    """Given the lists of the service, then the form has them: titles, sizes, models with why not, notes."""
    page = open_page()
    set_more(page)
    samplers = service.get("/samplers").json()["samplers"]
    models = service.get("/models").json()["models"]

    page.locator("#field-sampler").select_option(label=samplers[2]["label"])
    expect(page.locator("#sampler-hint")).to_have_text(samplers[2]["note"])
    expect(page.locator("#field-ddim_eta")).to_have_count(0)  # this sampler does not use it
    assert page.locator("#field-ckpt option").count() == len(models)
    absent = next(model for model in models if not model["available"])
    expect(page.locator(f"#field-ckpt option[value={absent['name']}]")).to_be_disabled()
    page.get_by_text("cannot be chosen").click()
    expect(page.get_by_text(absent["why_not"]).first).to_be_visible()
    page.get_by_role("button", name="Look for new models").click()
    expect(page.locator(".notice")).to_contain_text("looked again")
    page.get_by_label("3:2").check(force=True)
    expect(page.locator("#field-W")).to_have_value("160")
    expect(page.locator("#field-H")).to_have_value("104")
    page.get_by_role("button", name="Swap width and height").click()
    expect(page.get_by_label("2:3")).to_be_checked()


@pytest.mark.full
def test_a_large_image_is_drawn_in_two_passes(open_page: OpenPage, service: Service) -> None:
    """Given a person who wants an image enlarged and drawn again, when it is drawn, then it is so much larger and shows
    the one thing that was asked for, and what it was made with fills the form again; with an image to start from there
    is no such choice."""
    page = open_page()
    set_more(page, W=128, H=128, ddim_steps=12, seed=11)
    way = page.get_by_label("Large in two passes")
    expect(way.locator("option:checked")).to_have_text("As usual here: in two passes where it is large")
    way.select_option("Enlarged and drawn again")
    page.get_by_label("Times as large").fill("3")
    page.get_by_label("Strength of the second pass").fill("0.2")
    page.get_by_label("Enlarged by").select_option("lanczos")
    draw(page, "a red circle on a blue background")

    expect(newest_prompt(page)).to_have_text("a red circle on a blue background")
    (image,) = shown_images(page, service)
    assert image.size == (384, 384)
    # a shade of the background beside the edge is no second thing
    assert [thing for thing in things_in(image) if thing[0] != "blue"] == [("red", "circle")]
    assert shut_out(page) == []
    page.get_by_role("button", name="Back to the defaults").click()
    expect(page.get_by_label("Strength of the second pass")).to_have_count(0)
    page.locator(".tile .open").first.click()
    page.get_by_role("button", name="Use all").click()
    expect(page.get_by_text("Drawn first at 128 x 128 pixels.")).to_be_visible()
    expect(page.get_by_label("Strength of the second pass")).to_have_value("0.2")
    expect(page.locator("#field-W")).to_have_value("384")
    drop(page, png(), "start.png")
    expect(way).to_have_count(0)


@pytest.mark.full
def test_the_sizes_that_xl_is_told_have_fields(open_page: OpenPage) -> None:
    """Given a model of XL, when a person fills one number of a pair, then the other has what is usual, and both are
    sent; another model has no such fields."""
    page = open_page()
    set_more(page, ddim_steps=1, H=64)
    height, width, left = (
        page.locator(f"#field-{name}") for name in ("original_size", "original_size-1", "crops_coords_top_left-1")
    )
    expect(height).to_have_count(0)

    def as_xl(route: Route) -> None:
        answer = route.fetch().json()
        route.fulfill(json=answer | {"models": [model | {"family": "sdxl"} for model in answer["models"]]})

    page.route("**/models", as_xl)
    page.reload()
    width.fill("512")
    expect(height).to_have_value("64")
    height.fill("1024")
    left.fill("16")
    assert shut_out(page) == []
    with page.expect_request("**/generate") as sent:
        draw(page, "a red circle")
    body: Any = sent.value.post_data_json
    assert (body["original_size"], body["crops_coords_top_left"]) == ([1024, 512], [0, 16])
    assert "target_size" not in body
    height.fill("")
    expect(width).to_have_value("")


def with_loras(page: Page, listed: list[dict[str, Any]], fields: dict[str, list[str]]) -> list[Any]:
    """Have the page offer these LoRAs, and its requests refused for these fields; gives the bodies that it sends."""
    sent: list[Any] = []

    def refuse(route: Route) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(status=400, json={"error": "No.", "code": "invalid_request", "fields": fields})

    page.route("**/loras", lambda route: route.fulfill(json={"loras": listed}))
    page.route("**/generate", refuse)
    page.reload()
    page.locator("#draw").wait_for()
    set_more(page)
    return sent


def test_loras_are_chosen_with_weights(open_page: OpenPage, service: Service) -> None:
    """Given LoRAs of two families, when a person adds two that fit the model, weighs one and leaves out the other, then
    the request has what is left; what an image of the service was made with fills the form again. A list that
    is full is focused where it is wrong."""
    page = open_page()
    usual: dict[str, Any] = {"family": "sd1", "trigger_words": [], "why_not": None}
    listed = [
        usual | {"name": "sketch", "title": "Ink sketches", "trigger_words": ["inksk"]},
        usual | {"name": "night", "title": "night"},
        usual | {"name": "large", "title": "large", "family": "sdxl"},
        usual | {"name": "cut", "title": "cut", "file": "cut.safetensors", "why_not": "'cut' cannot be used."},
    ]
    sent = with_loras(page, listed, {"loras": ["'sketch' is not here."]})
    choice = page.locator("#field-loras")
    assert choice.locator("option").all_text_contents() == ["Add one …", "Ink sketches", "night"]
    choice.select_option("Ink sketches")
    choice.select_option("night")
    expect(page.locator("#loras-hint")).to_contain_text("inksk")
    page.get_by_label("Weight of Ink sketches").fill("-0.5")
    page.get_by_role("button", name="Leave out night").click()
    assert shut_out(page) == []
    draw(page, "a cat")

    expect(page.locator("#loras-error")).to_have_text("'sketch' is not here.")
    expect(choice).to_be_focused()
    assert sent[0]["loras"] == [{"name": "sketch", "weight": -0.5}]
    told = {"prompt": "a cat", "loras": [{"name": "night", "hash": "0" * 64, "weight": 0.3, "text_weight": 1.0}]}
    page.route("**/metadata", lambda route: route.fulfill(json={"parameters": told, "warnings": []}))
    drop(page, png(), "drawn.png")
    expect(page.get_by_label("Weight of night")).to_have_value("0.3")
    page.locator("#draw").click()
    expect(page.locator("#loras-error")).to_be_visible()
    assert sent[1]["loras"] == [{"name": "night", "weight": 0.3, "text_weight": 1}]

    told["loras"] = [{"name": f"number {place}", "weight": 1.0} for place in range(8)]
    drop(page, png(), "drawn.png")
    expect(choice.locator("option")).to_have_text(["No more can be added"])
    page.locator("#draw").click()
    expect(page.locator("#loras-error")).to_be_visible()
    expect(choice).to_be_focused()


def test_an_accelerator_is_chosen_beside_the_loras(open_page: OpenPage) -> None:
    """Given a LoRA for few steps, when a person chooses it, then steps and sampler become its own, the request has it
    and nothing that follows from it, and an image that was drawn with it fills the form again; where no LoRA is one,
    there is no choice."""
    page = open_page()
    with_loras(page, [], {})
    expect(page.locator("#field-ddim_steps")).to_have_value("20")
    expect(page.locator("#field-accelerator")).to_have_count(0)
    usual: dict[str, Any] = {"family": "sd1", "trigger_words": [], "why_not": None, "accelerates": None}
    defaults = {"ddim_steps": 4, "scale": 1.0, "sampler": "lcm", "schedule": "automatic", "accelerator": "quick"}
    listed = [
        usual | {"name": "quick", "title": "quick", "accelerates": {"kind": "LCM", "defaults": defaults}},
        usual | {"name": "night", "title": "night"},
    ]
    sent = with_loras(page, listed, {"accelerator": ["'quick' is not here."]})
    choice = page.locator("#field-accelerator")
    assert [text.strip() for text in choice.locator("option").all_text_contents()] == ["Without a LoRA", "quick (LCM)"]
    choice.select_option("quick")
    expect(page.locator("#field-ddim_steps")).to_have_value("4")
    expect(page.locator("#field-sampler")).to_have_value("lcm")
    draw(page, "a cat")
    expect(page.locator("#accelerator-error")).to_have_text("'quick' is not here.")
    assert sent[0] == {"prompt": "a cat", "accelerator": "quick"}
    choice.select_option("none")
    expect(page.locator("#field-ddim_steps")).to_have_value("20")
    lora = {"name": "quick", "hash": "0" * 64, "weight": 1.0, "text_weight": 1.0}
    told = {"prompt": "a dog", "accelerator": "quick", "loras": [lora], "ddim_steps": 4, "scale": 1.5}
    page.route("**/metadata", lambda route: route.fulfill(json={"parameters": told, "warnings": []}))
    drop(page, png(), "drawn.png")
    expect(choice).to_have_value("quick")
    page.locator("#draw").click()
    expect(page.locator("#accelerator-error")).to_be_visible()
    assert sent[1] == {"prompt": "a dog", "accelerator": "quick", "scale": 1.5}
    lora["text_weight"] = 0.5
    drop(page, png(), "drawn.png")
    expect(page.get_by_label("Weight of quick")).to_have_value("1")
    page.locator("#draw").click()
    expect(page.locator("#accelerator-error")).to_be_visible()
    assert sent[2] == sent[1] | {"loras": [{"name": "quick", "weight": 1, "text_weight": 0.5}]}


def test_an_image_is_used_again_by_keyboard_alone(open_page: OpenPage, tmp_path: Path) -> None:
    """Given two images, when only keys are pressed, then one is seen large, the next follows, its parameters go into
    the form, the focus comes back, and the requests it is shown as do what they say."""
    page = open_page()
    set_more(page, ddim_steps=4, seed=21)
    for prompt in ("a house", "a tree"):
        draw(page, prompt)
    expect(page.locator(".tile", has_text="a tree")).to_be_visible()
    expect(page.locator(".tile", has_text="a house")).to_be_visible()
    set_more(page, ddim_steps=9, seed=99)

    page.locator(".tile .open").first.focus()
    page.keyboard.press("Enter")
    first = page.locator(".viewer h2")
    expect(first).to_be_visible()
    before = first.inner_text()
    page.keyboard.press("ArrowRight")
    expect(first).not_to_have_text(before)
    assert shut_out(page) == []
    written = programs(page)
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".viewer .notice")).to_be_visible()
    page.get_by_role("button", name="Use all").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#field-seed")).to_have_value("21")
    expect(page.locator("#field-ddim_steps")).to_have_value("4")
    expect(page.locator(".tile .open").first).to_be_focused()

    for way, text in written.items():
        if way in RUNNABLE:
            assert "Seed: 21" in texts_of_the_image(way, text, tmp_path)["parameters"], way


def test_a_dropped_image_fills_the_form(open_page: OpenPage) -> None:
    """Given an image of ours, of another program, and a plain one, when each is dropped, then the form has what it was
    made with, and the last is the start of the next image."""
    page = open_page()
    prompt = page.get_by_label("Prompt", exact=True)
    drop(page, png(personal_diffusion='{"prompt": "ours", "seed": 5, "ddim_steps": 7, "sampler": "k_heun"}'), "a.png")
    expect(prompt).to_have_value("ours")
    set_more(page)
    expect(page.locator("#field-ddim_steps")).to_have_value("7")
    expect(page.locator("#field-sampler")).to_have_value("k_heun")

    infotext = (
        "a cat,\nsitting (très beau)\nNegative prompt: a dog\nSteps: 25, Sampler: DPM++ 2M, Schedule type: Karras, "
        'CFG scale: 6.5, Seed: 77, Size: 256x192, Model: elsewhere, Lora hashes: "x: 1, y: 2", Version: v1.10.1'
    )
    drop(page, png(parameters=infotext), "b.png")
    expect(prompt).to_have_value("a cat,\nsitting (très beau)")
    found = {"negative_prompt": "a dog", "ddim_steps": "25", "sampler": "k_dpmpp_2m_ka", "scale": "6.5", "seed": "77"}
    for name, value in (found | {"W": "256", "H": "192"}).items():
        expect(page.locator(f"#field-{name}")).to_have_value(value)
    expect(page.locator(".notice")).to_contain_text("no model here is called 'elsewhere'")

    drop(page, png(), "c.png")
    expect(page.locator(".chosen")).to_contain_text("96 × 64")
    strength = page.get_by_label("Strength")
    strength.fill("0.2")
    expect(strength).to_have_attribute("aria-valuetext", re.compile("keeps the image"))
    set_more(page, ddim_steps=5)
    page.get_by_label("as the input").check(force=True)
    page.locator("#draw").click()
    expect(newest_prompt(page)).to_contain_text("sitting")  # and not an image that was there before
    expect(page.locator(".stage .final")).to_be_visible()
    page.get_by_role("button", name="Details").click()
    expect(page.locator(".viewer .parameters").first).to_contain_text("Strength0.2")
    assert "LoRAs" not in page.locator(".viewer .parameters").first.inner_text(), "none were used"

    page.keyboard.press("Escape")
    page.get_by_role("button", name="Remove", exact=True).click()
    page.evaluate(PASTE, list(png()))
    expect(page.locator(".chosen")).to_contain_text("96 × 64")
    drop(page, b"no image at all", "d.png", ".source")
    expect(page.locator(".notice")).to_contain_text("not an image")


def keep_job(page: Page, parameters: dict[str, Any]) -> None:
    """Have this browser know one job alone, with an image of seed 5, and open that image."""
    page.evaluate(
        """(parameters) => {
            localStorage.clear();
            const job = { id: "kept", created: Date.now() + 1000, state: "SUCCESS", parameters };
            job.images = [{ name: "kept.png", seed: 5 }];
            localStorage.setItem("job:kept", JSON.stringify(job));
        }""",
        parameters,
    )
    page.reload()
    page.locator(".tile .open").first.click()
    expect(page.locator(".viewer h2")).to_have_text(parameters["prompt"])


def unusual(about: dict[str, Any]) -> Any:
    """A value of a parameter of the API document that is not its default."""
    if "enum" in about:
        return next(each for each in about["enum"] if each not in (None, about["default"]))
    if about["type"] == "boolean":
        return not about["default"]
    if about["type"] == "string":
        return "other"
    return about["default"] / 2 if about["default"] else about.get("minimum", 0) + 8


# structures, what names something that is here, and what depends on another
VALUES: dict[str, Any] = {
    "prompt": "all of it", "ckpt": "demo", "sampler": "k_heun", "seed": 5, "noise_seed": 6, "ddim_steps": 7,
    "clip_skip": 2, "W": 128, "H": 96, "loras": [{"name": "gone", "weight": 0.5}], "accelerator": "gone",
    "controlnet": [{"model": "gone", "weight": 0.5}], "original_size": [64, 72], "target_size": [64, 72],
    "crops_coords_top_left": [8, 8], "expand": {"left": 8}, "upscale": 2, "post_upscale": 2, "only_masked_padding": 8,
    "hires": {"first_width": 64, "first_height": 48, "upscaler": "gone"},
}  # fmt: skip
# of one image, the noise of which is told by its seed; and images, which no parameters tell
NOT_TOLD = ("n_iter", "fixed_code", "init_img", "mask")
OPENAI_NAMES = {"ckpt": "model", "W": "size", "H": "size"}


def test_no_parameter_of_an_image_is_dropped(open_page: OpenPage, service: Service) -> None:
    """Given an image with a value of its own for every parameter that a form shows, when it is used again, then the
    form has each, and each program too; an upscaler that is gone keeps its name."""
    keys, described = Img2ImgSchema.keys(), service.get("/openapi.json").json()["components"]["schemas"]
    about = described["Img2Img"]["properties"]
    names = [keys[name] for name in TITLES if name not in NOT_TOLD]
    page = open_page()
    keep_job(page, {name: VALUES[name] if name in VALUES else unusual(about[name]) for name in names})

    for way, text in programs(page).items():
        told = {name: OPENAI_NAMES.get(name, name) if way.endswith("openai") else name for name in names}
        assert [name for name, sent in told.items() if not re.search(rf"\b{sent}\b", text)] == [], way
    page.get_by_role("button", name="Use all").click()
    held = page.evaluate(
        "() => ({ ...JSON.parse(localStorage.form), controlnet: JSON.parse(localStorage.controlnet) })"
    )
    assert [name for name in names if name not in held] == []

    set_more(page)
    expect(page.locator("#field-hires-upscaler option:checked")).to_have_text("gone (not here)")
    expect(page.locator("#field-upscaler option:checked")).to_have_text("other (not here)")
    drop(page, png(), "start.png", ".source")
    expect(page.locator("#field-expand")).to_have_value("8")
    page.get_by_label("Draw beyond the sides of the input: bottom, in pixels").fill("16")
    expect(page.locator("#field-resize_input option:checked")).to_have_text("latent")
    assert shut_out(page) == []
    with page.expect_request("**/img2img") as sent:
        page.locator("#draw").click()
    body: Any = sent.value.post_data_json
    assert (body["expand"], body["mask_blur"]) == ({"left": 8, "bottom": 16}, 2)


def test_an_older_image_is_used_again_as_it_was(open_page: OpenPage) -> None:
    """Given an image that is older than accelerators and second passes, and a model that has an accelerator of its own,
    when the image is used again, then neither is asked for."""
    page = open_page()

    def accelerated(route: Route) -> None:
        answer = route.fetch().json()
        own = {"accelerator": "quick"}
        models = [model | {"defaults": model["defaults"] | own} for model in answer["models"]]
        route.fulfill(json=answer | {"models": models})

    page.route("**/models", accelerated)
    keep_job(page, {"prompt": "an older cat", "ckpt": "demo", "ddim_steps": 3})
    expect(page.locator(".requests code")).to_contain_text('"accelerator":"none","hires":"off"')
    page.get_by_role("button", name="Use all").click()
    with page.expect_request("**/generate") as sent:
        page.locator("#draw").click()
    body: Any = sent.value.post_data_json
    assert (body["accelerator"], body["hires"]) == ("none", "off")


def stroke(page: Page, *points: tuple[float, float]) -> None:
    """Draw over the painted image, from point to point in shares of its sides."""
    box = page.locator(".easel canvas").bounding_box()
    assert box is not None
    places = [(box["x"] + across * box["width"], box["y"] + down * box["height"]) for across, down in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def touch(page: Page, *points: tuple[float, float]) -> None:
    """The same with a finger."""
    box = page.locator(".easel canvas").bounding_box()
    assert box is not None
    finger = page.context.new_cdp_session(page)
    kinds = ("touchStart", *["touchMove"] * (len(points) - 1))
    for kind, (across, down) in zip(kinds, points, strict=True):
        place = {"x": box["x"] + across * box["width"], "y": box["y"] + down * box["height"]}
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    finger.detach()


def test_a_part_is_painted(open_page: OpenPage, service: Service, tmp_path: Path) -> None:
    """Given an image to start from, when parts of it are painted, erased, undone and inverted until its right half is
    left, then the request has that mask, white where it is drawn anew, a red circle is drawn there, the left half
    stays bit for bit, and cleared it is no mask. The image's request as a program draws the same with the two files."""
    page = open_page()
    prompt = "a red circle on the right on a blue background"
    page.locator("#field-prompt").fill(prompt)
    drop(page, png((128, 128), "navy"), "a.png", ".source")
    page.get_by_role("button", name="Redraw only a part").click()
    page.get_by_label("Brush").fill("50")
    stroke(page, (0.25, 0.0), (0.25, 1.0))
    stroke(page, (0.75, 0.0), (0.75, 1.0))
    page.get_by_role("button", name="Eraser").click()
    stroke(page, (0.75, 0.0), (0.75, 1.0))
    stroke(page, (0.25, 0.0), (0.25, 0.5))
    page.keyboard.press("Control+z")
    page.get_by_role("button", name="Invert").click()
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_alt_text("The part of it that is redrawn")).to_be_visible()

    page.get_by_text("How the part is redrawn").click()
    page.locator("#field-mask_blur").fill("6")
    page.get_by_label("Strength").fill("1")
    set_more(page, ddim_steps=12, seed=3, n_iter=4)
    with page.expect_request("**/img2img") as sent:
        page.locator("#draw").click()
    assert json.loads(sent.value.post_data or "{}")["mask_blur"] == 6
    mask = sent_mask(sent.value)
    assert mask.size == (128, 128)
    assert mask.crop((0, 0, 62, 128)).getextrema() == (0, 0)
    assert mask.crop((66, 0, 128, 128)).getextrema() == (255, 255)
    expect(newest_prompt(page)).to_have_text(prompt)  # and not an image that was there before
    images, kept, navy = shown_images(page, service), np.asarray(mask) == 0, (0, 0, 128)
    assert all((np.asarray(image)[kept] == navy).all() for image in images)
    right = [things_in(image.crop((64, 0, 128, 128))) for image in images]
    # what fades at the edge is no second thing
    seen = [[thing for thing in things if thing[0] != "blue"] for things in right]
    assert seen.count([("red", "circle")]) >= 3, right
    page.locator(".tile .open").first.click()
    mask.save(tmp_path / "mask.png")
    Image.new("RGB", (128, 128), "navy").save(tmp_path / "input.png")
    carried = [json.loads(image.text["personal_diffusion"]) for image in images]
    for way, text in programs(page).items():
        assert "mask.png" in text, way
        if way in RUNNABLE:
            again = json.loads(texts_of_the_image(way, text, tmp_path)["personal_diffusion"])
            assert again in carried, way

    page.reload()
    page.get_by_role("button", name="Change the part").click()
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("button", name="Redraw only a part")).to_be_visible()


def outline() -> bytes:
    """The outline of a large triangle in the middle of an image, white on black."""
    out = io.BytesIO()
    thing = Thing("triangle", "red", "large", "centre", 0.5, 0.5, 0.3, 0.0)
    outline_image(Scene(None, None, (thing,), seed=1)).save(out, "PNG")
    return out.getvalue()


def things_in(image: Image.Image) -> list[tuple[str, str]]:
    """The colour and shape of each thing that is seen in an image."""
    return [(each.colour, each.shape) for each in look(image)]


def test_an_outline_is_followed(open_page: OpenPage, service: Service, tmp_path: Path) -> None:
    """Given the outline of a triangle in a file, when a person chooses the ControlNet, gives it the file and draws a
    red shape, then the request has both and a red triangle is drawn; after a reload the form still has them. The
    image's request as a program reads the outline from a file, and the image can be followed itself."""
    page = open_page()
    set_more(page, ddim_steps=20, seed=5)
    page.get_by_label("ControlNets").select_option("demo-outline")
    page.get_by_label("Follow an image").set_input_files(
        {"name": "outline.png", "mimeType": "image/png", "buffer": outline()}
    )
    expect(page.get_by_alt_text("What ControlNet 1 follows: outline.png")).to_be_visible()
    page.get_by_label("Weight").fill("1.1")
    page.get_by_label("What counts for more").select_option("ControlNet is more important")
    assert shut_out(page) == []
    with page.expect_request("**/generate") as sent:
        draw(page, "a red shape")
    body: Any = sent.value.post_data_json
    assert [{**each, "image": ""} for each in body["controlnet"]] == [
        {"model": "demo-outline", "weight": 1.1, "mode": "control", "image": ""}
    ]
    assert base64.b64decode(body["controlnet"][0]["image"].partition("base64,")[2]) == outline()
    expect(newest_prompt(page)).to_have_text("a red shape")  # and not an image that was there before
    final = page.locator(".stage .final")
    expect(final).to_be_visible()
    drawn = page.request.get(f"{service.url}{final.get_attribute('src')}").body()
    assert things_in(Image.open(io.BytesIO(drawn))) == [("red", "triangle")]

    page.reload()
    expect(page.get_by_alt_text("What ControlNet 1 follows: outline.png")).to_be_visible()
    page.locator(".tile .open").first.click()
    program = page.locator(".requests code").inner_text()
    page.get_by_role("button", name="Use all").click()
    expect(page.get_by_label("Weight")).to_have_value("1.1")
    expect(page.get_by_label("Follow an image")).to_be_visible()
    page.locator(".tile .open").first.click()
    page.get_by_role("button", name="Follow it").click()
    expect(page.get_by_alt_text(re.compile("What ControlNet 1 follows: .*png"))).to_be_visible()
    (tmp_path / "control-1.png").write_bytes(outline())
    subprocess.run(["bash", "-c", program], cwd=tmp_path, check=True)
    assert things_in(Image.open(tmp_path / "image.png")) == [("red", "triangle")]


@pytest.mark.full
def test_controlnets_are_told_what_to_do(open_page: OpenPage) -> None:
    """Given ControlNets of two families, when a person adds three that fit the model, then no fourth can be added; each
    takes an image that is dropped or pasted on it, shows its edges, and is left out again; all come back with Undo."""
    page = open_page()
    usual: dict[str, Any] = {"family": "sd1", "aliases": [], "why_not": None}
    listed = [
        usual | {"name": "lines"}, usual | {"name": "depth"}, usual | {"name": "large", "family": "sdxl"},
        usual | {"name": "cut", "file": "cut.safetensors", "why_not": "'cut' cannot be used."},
    ]  # fmt: skip
    there: dict[str, Any] = {"controlnets": listed, "modes": [{"name": "balanced", "label": "Balanced"}]}
    page.route("**/controlnets", lambda route: route.fulfill(json=there))
    page.reload()
    set_more(page)
    choice = page.get_by_label("ControlNets")
    assert choice.locator("option").all_text_contents() == ["Add one …", "lines", "depth"]
    for name in ("lines", "depth", "lines"):
        choice.select_option(name)
    assert choice.locator("option").all_text_contents() == ["No more can be added"]
    first, second, third = (page.get_by_role("group", name=f"ControlNet {number}") for number in (1, 2, 3))
    expect(second.get_by_label("Model")).to_have_value("depth")

    drop(page, png(), "dropped.png", ".control:nth-child(3) .droppable")
    expect(second.get_by_alt_text("What ControlNet 2 follows: dropped.png")).to_be_visible()
    second.get_by_label("Preprocess").select_option("canny")
    expect(second.get_by_alt_text("What ControlNet 2 sees of it: its edges")).to_be_visible()
    page.evaluate(PASTE.replace("#field-prompt", "#field-controlnet-2-image"), list(png()))
    expect(third.get_by_alt_text("What ControlNet 3 follows: image.png")).to_be_visible()
    expect(page.locator(".source .chosen")).to_have_count(0)
    assert shut_out(page) == []
    draw(page, "a cat")
    expect(page.locator("#controlnet-error")).to_contain_text("No. 1, image: Missing")
    expect(choice).to_be_focused()

    first.get_by_role("button", name="Leave out ControlNet 1").click()
    expect(choice).to_be_focused()
    expect(page.locator(".control")).to_have_count(2)
    expect(first.get_by_alt_text("What ControlNet 1 follows: dropped.png")).to_be_visible()
    page.get_by_role("button", name="Back to the defaults").click()
    expect(page.locator(".control")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".control")).to_have_count(2)

    page.get_by_role("button", name="Back to the defaults").click()
    page.route("**/controlnets", lambda route: route.fulfill(json=there | {"controlnets": []}))
    page.reload()
    expect(page.locator("#field-sampler")).to_be_visible()
    expect(choice).to_have_count(0)


def test_two_hundred_images_are_thumbnails(open_page: OpenPage, service: Service) -> None:
    """Given a gallery of 200, when it is scrolled to its end, then all come, and only the newest at full size."""
    service.wait(service.submit(prompt="an older star", ddim_steps=2))
    job_id = service.submit(prompt="a star", ddim_steps=2)
    service.wait(job_id)
    done = service.get(f"/status/{job_id}?result=false").json()
    name = done["Images"][0].rpartition("/")[2]
    page = open_page()
    page.evaluate(
        """([id, name, parameters]) => {
            localStorage.clear(); // what it takes over from /recent, now too, comes behind what it knows
            for (let at = 0; at < 200; at += 1) {
                const images = [{ name, seed: at }];
                const job = { id, created: Date.now() + at, state: "SUCCESS", images, parameters };
                localStorage.setItem(`job:${at}`, JSON.stringify(job));
            }
        }""",
        [job_id, name, done["Parameters"]],
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    tiles = page.locator(".tile")
    expect(tiles.first).to_be_visible()
    assert tiles.count() < 200, "those far below are not made yet"
    for _ in range(3):
        page.mouse.wheel(0, 20_000)
        page.locator(".gallery .tiles li:last-child").scroll_into_view_if_needed()
    expect(page.locator(".gallery .tiles li:nth-child(200)")).to_be_attached()

    images = [url for url in asked if "/images/" in url]
    full = [url for url in images if "width=" not in url]
    assert {url.rpartition("/images/")[2].partition("/")[0] for url in full} == {job_id}
    assert len(images) > len(full)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.full)])
def test_it_is_for_everybody_on_a_phone_too(open_page: OpenPage, service: Service, scheme: str) -> None:
    """Given 360 pixels and either scheme, when used, then nothing sticks out, axe-core finds nothing serious, and a
    finger paints."""
    page = open_page(viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True, is_mobile=True)
    set_more(page, ddim_steps=2)
    draw(page, "a green square, " * 20)
    expect(page.locator(".tile").first).to_be_visible()
    expect(page.locator(".stage .final")).to_be_in_viewport()

    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert shut_out(page) == []
    page.locator(".tile .open").first.tap()
    expect(page.locator(".viewer")).to_be_visible()
    assert page.evaluate("document.querySelector('.viewer').scrollWidth") <= 360
    assert shut_out(page) == []
    page.get_by_role("button", name="Close").first.tap()
    for at in (0, 1):
        page.locator(".pick input").nth(at).check(force=True)
    page.get_by_role("button", name="Side by side").tap()
    expect(page.locator(".comparison img")).to_have_count(2)
    assert shut_out(page) == []
    page.keyboard.press("Escape")

    drop(page, png(), "start.png", ".source")
    page.get_by_role("button", name="Redraw only a part").tap()
    touch(page, (0.25, 0.1), (0.25, 0.5), (0.25, 0.9))
    assert shut_out(page) == []
    page.get_by_role("button", name="Use it").click()
    part = page.get_by_alt_text("The part of it that is redrawn")
    expect(part).to_be_visible()
    data = base64.b64decode((part.get_attribute("src") or "").partition("base64,")[2])
    painted = Image.open(io.BytesIO(data)).getchannel("A")
    assert [painted.getpixel(at) for at in ((24, 8), (24, 32), (24, 56), (80, 32))] == [255, 255, 255, 0]


@pytest.mark.full
def test_a_server_that_is_away_is_waited_for(open_page: OpenPage, service: Service) -> None:
    """Given a job under way, when the server is killed, then the page says so and loses nothing; when it is back, the
    job is followed to its end."""
    api = service.start_api()
    page = open_page(api.url)
    set_more(page, ddim_steps=60)
    draw(page, "a boat")
    expect(page.locator(".stage .state")).to_have_text(re.compile("Step [1-9]"))

    service.kill(api.child)
    expect(page.locator(".connection")).to_have_text(re.compile("away"))
    draw(page, "a second boat")
    expect(page.locator(".send .error")).to_have_text(re.compile("cannot be reached"))
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a second boat")

    again = service.start_api(int(api.url.rpartition(":")[2]))
    try:
        expect(page.locator(".connection")).to_be_empty()
        expect(page.locator(".stage .final")).to_be_visible()
        expect(page.locator(".tile", has_text="a boat").first).to_be_visible()
    finally:
        service.stop(again.child)


@pytest.mark.full
def test_a_key_is_asked_for_and_kept_on_request_alone(open_page: OpenPage, service: Service) -> None:
    """Given a service with a key of its own and private results, when one draws, then the page asks for the key, shows
    the image with it, and knows it after a reload only if it was told to."""
    api = service.start_api(API_KEYS="sesame", PRIVATE_RESULTS="true")
    try:
        page = open_page(api.url)
        set_more(page, ddim_steps=2)
        draw(page, "a yellow triangle")
        key = page.get_by_role("textbox", name="Key")
        expect(key).to_be_visible()
        key.fill("a wrong one")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator(".key .error")).to_have_text(re.compile("not accepted"))
        for remembered in (False, True):
            expect(key).to_be_visible()
            key.fill("sesame")
            page.get_by_label("Remember it in this browser").set_checked(remembered)
            page.get_by_role("button", name="Use it").click()
            page.locator("#draw").click()
            expect(page.locator(".stage .final")).to_have_attribute("src", re.compile("^blob:"))
            expect(page.locator(".tile img").first).to_have_attribute("src", re.compile("^blob:"))
            assert ("sesame" in str(page.context.storage_state())) is remembered
            page.reload()
            page.locator("#draw:enabled").click()
        expect(page.locator(".stage .caption .state")).to_have_text(re.compile("Done in"))
    finally:
        service.stop(api.child)
