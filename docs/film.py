"""Films docs/play.webp, the picture of the README: the exported playground in a browser, while its slider moves.

python docs/film.py      # needs Chromium, and the packages of the extra dev
"""

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from onebody.reports.export import export

WINDOW = {"width": 900, "height": 560}
WIDTH = 640
VELOCITIES = [(0.4, 14), (1.3, 22), (2.0, 22), (0.8, 14)]
"""velocity (m/s) that the slider is moved to, and for how many images"""
STEPS = 10
"""control steps per image"""
DT = 0.01
"""s per control step of the half-cheetah"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page_file = export(None, Path(folder) / "play.html")
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--use-gl=swiftshader"]
        )
        page = browser.new_page(viewport=WINDOW)
        page.goto(page_file.as_uri())
        page.wait_for_function("window.onebody")
        page.evaluate("onebody.step(300)")
        slider, images = page.locator("input[type=range]"), []
        for velocity, count in VELOCITIES:
            slider.evaluate("(it, value) => { it.value = value; it.dispatchEvent(new Event('input')); }", velocity)
            for _ in range(count):
                page.evaluate(f"onebody.step({STEPS})")
                page.wait_for_timeout(250)
                image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                images.append(image.resize((WIDTH, WIDTH * image.height // image.width), Image.Resampling.LANCZOS))
        browser.close()
    first, *rest = images
    first.save(
        Path(__file__).parent / "play.webp",
        save_all=True,
        append_images=rest,
        duration=round(1000 * STEPS * DT),
        loop=0,
        quality=55,
        method=6,
    )


if __name__ == "__main__":
    main()
