"""The commands that search a collection: search, index, app."""

import os
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from mmret_lib.cli.flags import NOT_GIVEN, Backend, DataName, Reading
from mmret_lib.cli.opening import (
    open_index,
    open_model,
    open_run,
    unreadable,
    warn_of,
    where,
)
from mmret_lib.files.errors import DataError
from mmret_lib.files.places import user_path

# `[RUN] QUERY`: where only one is given, it is the second. Two parameters and not a tuple, because
# options may stand between them.
RUN = tyro.conf.arg(metavar="[RUN]", help_behavior_hint="")
QUERY = tyro.conf.arg(metavar="QUERY", help_behavior_hint="")
INDEX = tyro.conf.arg(metavar="INDEX", help_behavior_hint="")


def search(
    run: Annotated[Positional[str | None], RUN] = None,
    query: Annotated[Positional[str | None], QUERY] = None,
    k: int = 5,
    data: DataName | None = None,
    root: Path | None = None,
    split: str | None = None,
    backend: Backend | None = None,
    index: Path | None = None,
    milvus: str | None = None,
    out: Path | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    reading: Reading = NOT_GIVEN,
) -> None:
    """Find the images that fit a text, or the captions that fit a picture.

    Where photos have no captions, a picture finds similar photos. Embeddings of a data set are kept
    in the cache folder, so that the next search with the same model is quick.

    Args:
        run: run folder that `mmret train` wrote. Without it, the pocket model that comes with mmret
            searches, and --index or --data says where.
        query: a text, or the path of a picture. A query that ends like a picture (.jpg, .tif, ...),
            begins like a path (/, ./, ~/), or has a slash and no space is taken for a path.
        k: number of answers to show.
        data: data set to search, by default the one that the run was trained on.
        root: its folder, by default the run's.
        split: what to search, by default the data set's test split.
        backend: exact (the default) or, for large collections, flat, hnsw, ivf (all of FAISS) or
            milvus.
        index: folder of an index; if it is not there, it is made of the data set.
        milvus: address of a Milvus, or a file ending in .db; its token is read from MILVUS_TOKEN.
        out: also write the answers as a page with pictures.
        json_file: also write the answers to this JSON file: ranks, scores, paths and captions.
        reading: how the data set is read, by default as for the run.
    """
    from mmret_lib.search.query import picture_or_text

    if run is None:
        raise DataError('say what to look for, such as "a red bus": mmret search --help')
    model_of = user_path(run) if query is not None else None
    query = run if query is None else query
    asked = picture_or_text(query)  # first, because what follows takes seconds to import
    there = index is not None and (index / "manifest.json").exists()
    if model_of is None and not there and data is None:
        raise DataError(
            f"there is no index {index}; make one: mmret index --photos FOLDER {index}"
            if index
            else "say where to search: --index FOLDER, --data NAME, or the run folder of a model "
            "before the query"
        )
    from mmret_lib.search.hits import write_hits
    from mmret_lib.search.index import SearchIndex
    from mmret_lib.search.photos import unfinished
    from mmret_lib.show.html import write_page

    backend = backend or ("milvus" if milvus else None)
    if index is not None and there:
        other = data or root or split or milvus or reading != NOT_GIVEN
        opened, title = open_index(model_of, index, backend, bool(other))
    else:
        model, pairs, title, share = open_run(model_of, data, root, split, reading)
        opened = SearchIndex.build(
            model,
            pairs,
            backend=backend or "exact",
            folder=index,
            uri=milvus,
            token=os.environ.get("MILVUS_TOKEN"),
            cached=index is None,
            max_unreadable=share,
        )
    with opened:
        if not isinstance(asked, Path):
            hits = opened.by_text(asked, k)
        elif opened.pairs.captions:
            hits = opened.by_image(asked, k)
        else:
            hits = opened.similar_images(asked, k)
    warn_of(opened, model_of)
    print(f"{title}: {len(opened):,} images searched")
    for line in filter(None, [opened.recall and opened.summary, unfinished(opened)]):
        print(line)
    print("\n".join(map(str, hits)))
    if json_file:
        write_hits(json_file, asked, hits, collection=title, images=len(opened))
        print(f"wrote {json_file}")
    if out:
        write_page(out, asked, hits, title=title)
        print(f"wrote {out}")


def make_index(
    run: Annotated[Positional[Path | None], RUN] = None,
    folder: Annotated[Positional[Path | None], INDEX] = None,
    photos: Path | None = None,
    data: DataName | None = None,
    root: Path | None = None,
    split: str | None = None,
    backend: Backend | None = None,
    milvus: str | None = None,
    add: bool = False,
    reading: Reading = NOT_GIVEN,
) -> None:
    """Embed a collection once and keep it in a folder, for `mmret search --index INDEX`.

    With --photos it indexes any folder of your own; no captions are needed. Called again, it adds
    the new photos and takes out those that are gone; after an interruption it continues. An index
    of a data set is replaced only when the new one is complete: until then it can be searched, and
    it stays as it was if the command fails.

    Args:
        run: run folder that `mmret train` wrote. Without it, the pocket model that comes with mmret
            embeds the collection.
        folder: the folder to keep the index in.
        photos: a folder of photos; its subfolders count.
        data: data set to index, by default the one that the run was trained on.
        root: its folder, by default the run's.
        split: what to index, by default the data set's test split.
        backend: exact (the default) or, for large collections, flat, hnsw, ivf (all of FAISS) or
            milvus.
        milvus: address of a Milvus, or a file ending in .db; its token is read from MILVUS_TOKEN.
        add: add the data set to the existing index.
        reading: how the data set is read, by default as for the run.
    """
    if run is None:
        raise DataError("say where to keep the index: mmret index --help")
    model_of = run if folder is not None else None
    folder = run if folder is None else folder
    if add and (backend or milvus):
        raise DataError("--add uses the backend of the index; leave out --backend and --milvus")
    if photos is not None and (
        data
        or root
        or split
        or add
        or milvus
        or reading != NOT_GIVEN
        or backend not in (None, "exact")
    ):
        raise DataError(
            "an index of photos follows its folder and is searched exactly; give --photos without "
            "--data, --root, --split, --captions and the other flags of a data set, and without "
            "--backend, --milvus and --add"
        )
    if photos is None and model_of is None and data is None:
        raise DataError(
            "say what to index: --photos FOLDER, --data NAME, or the run folder of a model before "
            "the index"
        )
    if photos is not None:
        _index_photos(model_of, photos, folder)
        return
    from mmret_lib.search.index import SearchIndex

    model, pairs, title, share = open_run(model_of, data, root, split, reading)
    token = os.environ.get("MILVUS_TOKEN")
    if add:
        opened = SearchIndex.open(folder, model, token=token).add(pairs, max_unreadable=share)
    else:
        backend = backend or ("milvus" if milvus else "exact")
        opened = SearchIndex.build(
            model,
            pairs,
            backend=backend,
            folder=folder,
            uri=milvus,
            token=token,
            max_unreadable=share,
        )
    opened.close()
    warn_of(opened, model_of)
    counts = f"{len(opened):,} images, {len(opened.pairs.captions):,} captions"
    print(f"{title}: {folder} holds {counts}; {opened.summary}")


def _index_photos(run: Path | None, photos: Path, folder: Path) -> None:
    from mmret_lib.data.photos import list_photos

    list_photos(photos)  # a wrong folder shows before the model is opened, which takes seconds
    from mmret_lib.search.photos import index_photos

    model, _, _ = open_model(run)
    update = index_photos(model, photos, folder, run=str(run.absolute()) if run else "")
    print(update)
    warn_of(update.index, run)
    with_run = f"{run} " if run else ""
    print(
        f"{folder} holds {len(update.index):,} photos; search them: "
        f'mmret search {with_run}"red bus" --index {folder}'
    )


def explore(
    runs: Positional[tuple[Path, ...]] = (),
    photos: Path | None = None,
    data: DataName | None = None,
    root: Path | None = None,
    split: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8866,
    browser: bool = True,
    reading: Reading = NOT_GIVEN,
) -> None:
    """Open the explorer in the browser: search by a sentence or a picture, compare the losses.

    Args:
        runs: run folders to choose from, by default all finished ones under runs/ that were
            trained on the same data as the first; where there is none, two small models are
            trained in about a minute. Without runs and --data, the page offers the album of real
            photographs, too.
        photos: search this folder of your own photos instead; its subfolders count. Without runs,
            the pocket model that comes with mmret searches. The index is kept in the cache folder.
        data: data set to search, by default the one that the first run was trained on.
        root: its folder, by default the run's.
        split: what to search, by default the data set's test split.
        host: address to listen at; 127.0.0.1 is this machine alone, 0.0.0.0 everyone who can
            reach it, without a password.
        port: port of the page; if it is in use, the next free one.
        browser: open the page in the browser.
        reading: how the data set is read, by default as for the first run.
    """
    if photos is not None:
        if data or root or split or reading != NOT_GIVEN:
            raise DataError(
                "--photos names all there is to search; leave out --data, --root, --split, "
                "--captions and the other flags of a data set"
            )
        from mmret_lib.show.photos import serve_photos

        serve_photos(photos, runs, host=host, port=port, browser=browser)
        return
    from mmret_lib.show.app import choose_runs, serve

    chosen, trained = choose_runs(runs, data)
    name, root, split, options = where(trained, data, root, split, reading)
    serve(
        chosen,
        data=name,
        root=root,
        split=split,
        options=options,
        max_unreadable=unreadable(trained, reading),
        album=not runs and data is None,
        host=host,
        port=port,
        browser=browser,
    )
