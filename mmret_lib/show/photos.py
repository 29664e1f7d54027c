"""The pages of photographs: of one's own (`mmret app --photos`), and of the shipped album.

The index of one's own photos is kept in the cache folder, and brought up to date before the page
opens.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from ipywidgets import HTML, VBox

from mmret_lib.data import load_pairs
from mmret_lib.data.photos import list_photos
from mmret_lib.encoders.dual import DualEncoder
from mmret_lib.files.cache import InUse
from mmret_lib.files.disk import disk_errors
from mmret_lib.files.output import say
from mmret_lib.files.places import cache_folder
from mmret_lib.search.embed import fingerprint
from mmret_lib.search.index import SearchIndex
from mmret_lib.search.photos import index_photos
from mmret_lib.show.explorer import SearchExplorer
from mmret_lib.show.server import import_voila, launch
from mmret_lib.training.run_folder import load_run


def serve_photos(
    photos: str | Path,
    runs: Sequence[Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8866,
    browser: bool = True,
) -> None:
    """Index a folder of photos, or bring its index up to date, and serve a page that searches it.

    Args:
        photos: the folder; its subfolders count.
        runs: run folders of models to choose from; none takes the pocket model.
        host, port, browser: as for `serve`.

    Raises:
        MissingFile, DataError: as `index_photos` and `serve`.
    """
    import_voila()  # where it is missing, say so before minutes of embedding
    root = list_photos(photos).root
    shown: dict[str, dict[str, str]] = {}
    in_use = []  # so that `mmret cache --clear` leaves the indexes alone
    models: Sequence[Path | None] = runs or [None]
    for run in models:
        name, model = _open(str(run.resolve()) if run else "")
        folder = _folder(root, model)
        with disk_errors(folder, "making the folder of an index"):
            in_use.append(InUse(folder, make=True))
        update = index_photos(model, root, folder, run=str(run or ""))
        say(update)
        name = name if name not in shown else str(run)
        shown[name] = {"index": str(folder), "run": str(run.resolve()) if run else ""}
    launch({"photos": shown}, host=host, port=port, browser=browser)


def photos_page(shown: dict[str, dict[str, str]]) -> VBox:
    """Build the page for the indexes that `serve_photos` made."""
    indexes = {
        name: SearchIndex.open(one["index"], _open(one["run"])[1]) for name, one in shown.items()
    }
    return VBox(
        [
            HTML(
                '<div class="mmret-head"><h1>Say it, and find the photo</h1><p>Type a sentence, or '
                "take a photo (drop one on the page) and see which are similar to it. Nothing "
                "leaves this machine.</p></div>"
            ),
            SearchExplorer(indexes, k=10),
        ]
    )


def album_page() -> VBox:
    """Build the page that searches the shipped album with the pocket model."""
    return VBox(
        [
            HTML(
                '<div class="mmret-head"><h1>Say it, and find the photo</h1><p>Photographs of COCO '
                "under free licences, which the model was not trained on: type a sentence, or take "
                "a photo (drop one on the page) and see which sentences it finds.</p></div>"
            ),
            SearchExplorer(album_index(), query="Red bus on the street"),
        ]
    )


def album_index() -> SearchIndex:
    """Embed the album with the pocket model, or read its embeddings from the cache."""
    return SearchIndex.build(
        _open("")[1], load_pairs("album", split="test"), cached=True, progress=False
    )


def _open(run: str) -> tuple[str, DualEncoder]:
    """The name of a loss and the model of a run; of "", the pocket model."""
    if not run:
        from mmret_lib.encoders.pocket import pocket_model

        return "", pocket_model()
    model, record = load_run(run)
    return record.loss, model


def _folder(root: Path, model: DualEncoder) -> Path:
    """Where the index of these photos by this model is kept."""
    key = hashlib.sha256(f"{root}\n{fingerprint(model)}".encode(errors="surrogatepass"))
    title = re.sub(r"[^A-Za-z0-9.+]+", "-", root.name).strip("-")[:60] or "photos"
    return cache_folder() / "photos" / f"{title}-{key.hexdigest()[:16]}"
