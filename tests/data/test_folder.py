"""Your own photos with a captions file: CSV, TSV and JSON lines with named columns."""

import csv
import io
import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from photo_folders import CLIMBING, put_photo
from random_damage import bites, bitten, fuzzed

from mmret_lib.data import load_pairs, usual_splits
from mmret_lib.data.folder import read_folder, splits_of
from mmret_lib.files.errors import DataError, MissingFile

ROWS = [
    ("b.jpg", 'A "big" dog, running.'),
    ("pets/a.jpg", "Ein Mädchen; 女の子"),
    ("b.jpg", "Two dogs."),
]


@pytest.fixture
def home(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg", "pets/a.jpg"):
        put_photo(tmp_path / name)
    return tmp_path


def put(home: Path, content: str | bytes, name: str = "captions.csv") -> Path:
    path = home / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(rows, header=("filepath", "title"), separator=",") -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows([header, *rows])
    return text.getvalue()


def lines(rows, header=("filepath", "title")) -> str:
    records = [dict(zip(header, row, strict=True)) for row in rows]
    return "".join(json.dumps(record) + "\n" for record in records)


FORMS = {
    "comma": table(ROWS),
    "tab": table(ROWS, separator="\t"),
    "semicolon": table(ROWS, separator=";"),
    "json": lines(ROWS),
}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".txt"])
@pytest.mark.parametrize("form", FORMS)
def test_the_content_decides_the_form_not_the_ending(home, form, ending):
    pairs = load_pairs("folder", captions=put(home, FORMS[form], f"captions{ending}"))
    assert pairs.image_ids == ["b.jpg", "pets/a.jpg"]
    assert pairs.captions == [ROWS[0][1], ROWS[2][1], ROWS[1][1]]
    assert pairs.owner.tolist() == [0, 0, 1]
    assert pairs.images == [home / "b.jpg", home / "pets" / "a.jpg"]
    assert (pairs.name, pairs.split, pairs.skipped) == ("folder", "all", ())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("form", FORMS)
def test_encodings(home, form, encoding):
    source = put(home, FORMS[form].encode(encoding))
    assert read_folder(captions=source).captions[2] == ROWS[1][1]


@pytest.mark.parametrize(
    "header",
    [
        ("image", "caption"),
        ("Image", " Title "),
        ("file name", "text"),
        ("IMG-PATH", "sentence"),
        ("image_name", "comment"),
    ],
)
def test_columns_are_found_by_their_usual_names(home, header):
    rows = [(7, *row, "x") for row in ROWS]
    pairs = read_folder(captions=put(home, table(rows, ("", *header, "note"))))
    assert len(pairs.captions) == 3


def test_columns_can_be_named(home):
    source = put(home, table([(*row, "x.jpg") for row in ROWS], ("Bild", "Text (de)", "path")))
    pairs = read_folder(captions=source, image_column="Bild", caption_column="Text (de)")
    assert pairs.image_ids == ["b.jpg", "pets/a.jpg"]
    with pytest.raises(DataError, match=r"no column 'bild'; its columns are 'Bild', 'Text \(de\)'"):
        read_folder(captions=source, image_column="bild")


def test_json_captions_may_be_lists(home):
    records = [
        {"image": "b.jpg", "caption": ["one", " two "], "license": {"id": 1}},
        {"image": "a.jpg", "caption": []},
        {"image": "c.jpg", "caption": None},
        {"image": "b.jpg", "caption": "three"},
        {"image": "c.jpg"},
    ]
    source = put(home, "\n\n".join(map(json.dumps, records)))
    pairs = read_folder(captions=source, max_missing=0.4)
    assert pairs.captions == ["one", "two", "three"]
    assert pairs.skipped == (
        f"{source}: line 5 (c.jpg): the caption is empty",
        f"{source}: line 9 (c.jpg): the caption is empty",
        f"{source}: line 3 (a.jpg) has no caption",
        f"{source}: line 5 (c.jpg) has no caption",
    )


def test_rows_without_a_caption_and_repeated_rows_are_counted(home):
    rows = [("a.jpg", "x"), ("./a.jpg", " x "), ("b.jpg", " "), ("pets//a.jpg", "y"), ("", "")]
    source = put(home, table(rows))
    with pytest.raises(DataError, match=r"1 of the 3 captions .* column .*--max-missing 0.34"):
        read_folder(captions=source)
    pairs = read_folder(captions=source, max_missing=0.34)
    assert (pairs.image_ids, pairs.captions) == (["a.jpg", "pets/a.jpg"], ["x", "y"])
    assert pairs.skipped == (
        f"{source}: 1 rows repeat a row before them: line 3 (a.jpg)",
        f"{source}: line 4 (b.jpg): the caption is empty",
        f"{source}: line 4 (b.jpg) has no caption",
    )


@pytest.mark.parametrize("empty", ["", " ", "nan", "NaN", "null", "None", "N/A", "<NA>"])
def test_a_few_captions_may_be_empty_as_tables_write_it(home, empty):
    rows = [("a.jpg", f"caption {number}") for number in range(99)]
    source = put(home, table([*rows, ("b.jpg", empty)]))
    pairs = read_folder(captions=source)
    assert len(pairs.captions) == 99 and pairs.image_ids == ["a.jpg"]
    assert f"{source}: line 101 (b.jpg): the caption is empty" in pairs.skipped[0]
    assert pairs.skipped[1:] == (f"{source}: line 101 (b.jpg) has no caption",)


def test_nan_as_python_writes_it_into_json_lines_is_an_empty_caption(home):
    records = [{"image": "a.jpg", "caption": float(7)}, {"image": "b.jpg", "caption": float("nan")}]
    records += [{"image": "a.jpg", "caption": f"caption {number}"} for number in range(198)]
    pairs = read_folder(captions=put(home, "\n".join(map(json.dumps, records))))
    assert len(pairs.captions) == 198 and pairs.image_ids == ["a.jpg"]
    assert "the caption is 7.0, not a text" in pairs.skipped[0]
    assert "the caption is empty" in pairs.skipped[1]


def test_a_caption_may_be_a_number_in_a_table(home):
    assert read_folder(captions=put(home, table([("a.jpg", "7")]))).captions == ["7"]


# ---------------------------------------------------------------- where the photos lie


def test_paths_begin_from_root(home, tmp_path_factory, monkeypatch):
    source = put(home, table([("a.jpg", "x")]))
    assert read_folder(home / "pets", captions=source).images == [home / "pets" / "a.jpg"]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert read_folder(home, captions="captions.csv").images == [home / "a.jpg"]
    with pytest.raises(MissingFile, match=r"elsewhere0/captions.csv does not exist; expected a CS"):
        read_folder(captions="captions.csv")
    with pytest.raises(MissingFile, match="pets is no file"):
        read_folder(captions=home / "pets")
    with pytest.raises(MissingFile, match="nowhere does not exist; expected the photos"):
        read_folder(home / "nowhere", captions=source)
    with pytest.raises(DataError, match=r"--captions FILE \(in Python captions=…\)"):
        load_pairs("folder", home)


def test_an_absolute_path_within_root_is_fine(home, tmp_path_factory):
    source = put(home, table([(home / "pets/a.jpg", "x"), ("pets/a.jpg", "y")]))
    assert read_folder(captions=source).captions_of(0) == ["x", "y"]
    link = tmp_path_factory.mktemp("links") / "photos"
    link.symlink_to(home)
    assert read_folder(link, captions=source).images == [link / "pets" / "a.jpg"]
    with pytest.raises(DataError, match=r"line 2: the file name .* leads out .*another --root"):
        read_folder(home / "pets", captions=put(home, table([(home / "a.jpg", "x")])))


@pytest.mark.parametrize("name", [name for name in CLIMBING if "\0" not in name])
@pytest.mark.parametrize("form", [table, lines])
def test_paths_that_climb_out(home, form, name):
    rows = [("a.jpg", "x"), (name, "y")]
    source = put(home, form(rows))
    number = 3 if form is table else 2
    with pytest.raises(DataError) as caught:
        read_folder(captions=source)
    said = str(caught.value)
    assert said.startswith(f"{source}: line {number}: the file name") and "leads out" in said
    assert "such as 'pets/cat.jpg', or pass another --root" in said


def test_photos_that_are_not_there(home):
    source = put(home, table([("a.jpg", "x"), ("gone.jpg", "y")]))
    with pytest.raises(MissingFile, match=r"1 of the 2 images .*line 3: .*pass --root FOLDER"):
        read_folder(captions=source)
    pairs = read_folder(captions=source, max_missing=0.5)
    assert len(pairs) == 1 and "gone.jpg is missing" in pairs.skipped[0]


# ---------------------------------------------------------------- splits

SPLIT_ROWS = [
    ("a.jpg", "x", "train"),
    ("b.jpg", "y", "dev"),
    ("c.jpg", "z", "test"),
    ("a.jpg", "w", "train"),
    ("pets/a.jpg", "v", ""),
]


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["a.jpg"]),
        ("val", ["b.jpg"]),
        ("dev+test", ["b.jpg", "c.jpg"]),
        ("all", ["a.jpg", "b.jpg", "c.jpg", "pets/a.jpg"]),
    ],
)
def test_a_split_column_selects(home, split, names):
    header = ("image", "caption", "split")
    for content in (table(SPLIT_ROWS, header), lines(SPLIT_ROWS, header)):
        pairs = read_folder(captions=put(home, content), split=split)
        assert (pairs.image_ids, pairs.split) == (names, split)


def test_the_usual_splits_are_those_that_the_file_has(home):
    source = put(home, table(SPLIT_ROWS, ("image", "caption", "split")))
    assert usual_splits("folder", captions=source) == ("train", "dev", "test")
    assert splits_of(captions=source) == ["train", "dev", "test"]
    with pytest.raises(DataError, match=r"captions.csv has no split 'trian'; it has dev, test, tr"):
        read_folder(captions=source, split="trian")
    put(home, table(SPLIT_ROWS[:2], ("image", "caption", "part")))
    assert usual_splits("folder", captions=source) == ("all", None, "all")
    named = {"captions": source, "split_column": "part"}
    assert usual_splits("folder", **named) == ("train", "dev", "dev")
    assert read_folder(**named, split="train").image_ids == ["a.jpg"]
    with pytest.raises(DataError, match=r"only 'all' can be read, not 'train'.* --split-column"):
        read_folder(captions=source, split="train")


def test_a_photo_of_two_splits_is_refused(home):
    rows = [*SPLIT_ROWS, ("a.jpg", "u", "test")]
    with pytest.raises(DataError, match=r"line 7: a.jpg is in split 'test', and on line 2 in 'tra"):
        read_folder(captions=put(home, table(rows, ("image", "caption", "split"))))


# ---------------------------------------------------------------- bad files

HEAD = "image,caption\n"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "line 1 is ''; expected a first line that names the columns"),
        ("A dog .\nA cat .\n", "line 1 is 'A dog .'; expected a first line"),
        ("a.jpg,A dog\n", "no image column .*its columns are 'a.jpg', 'A dog'; .*--image-column"),
        ("image,words\na.jpg,x\n", "no caption column .*'image', 'words'; .*--caption-column NAME"),
        ("image,path,title\n", "'image' and 'path' could each be the image column; .*--image-col"),
        ("image,title,Caption\n", "'title' and 'Caption' could each be the caption column"),
        ("image,caption,caption\n", "line 1 names the column 'caption' twice"),
        (HEAD, "no image with a caption is left"),
        (HEAD + "a.jpg,A dog, a cat\n", "line 2 has 3 fields .* commas between double quotes"),
        (HEAD + "a.jpg\n", "line 2 has 1 fields"),
        (HEAD + ",x\n", "line 2: the file name is ''; write a path that begins from"),
        (HEAD + "https://x.org/a.jpg,x\n", "line 2: .* is an address; download the photo"),
        (HEAD + 'a.jpg,"never closed\nb.jpg,x\n', "check its double quotes"),
        (HEAD + 'a.jpg,"x" y\n', "line 2: .*check its double quotes"),
        (HEAD + "a.jpg,x\na.jpg,y\0z\n", "line 3 holds a NUL byte"),
        (HEAD + f"a.jpg,{'x' * 200_000}\n", "line 2: field larger than"),
        ("image\tcaption\na.jpg\tx\ty\n", "line 2 has 3 fields .* tabs between"),
        (
            HEAD.encode() + "a.jpg,Café\n".encode("latin-1"),
            "line 2: byte 23 is not .*save it as",
        ),
        (b"\xff\xfea\0b", "byte 4 is not UTF-16"),
        (b"PK\x03\x04\x14\0\x08\0", "line 1 holds a NUL byte, so this is no text file"),
        ('[{"image": "a.jpg", "caption": "x"}]', "holds one JSON list; write one object a line"),
        ('{\n"images": []}', "line 1 is not JSON that .*one whole object a line .*set coco"),
        ('{"image": "a.jpg", "caption": "x"}\n7', "line 2 is 7, not a JSON object"),
        ('{"image": "a.jpg", "caption": "x"}\n{"a":', r"line 2 is not JSON .*object a line$"),
        ('{"image": "a.jpg", "caption": Infinity}', "line 1 is not JSON .*Infinity"),
        ('{"image": 7, "caption": "x"}', "line 1: the file name is 7"),
        ('{"image": "a.jpg", "caption": "x"}\n{"caption": "y"}', "line 2: the file name is None"),
        (
            '{"image": "a.jpg", "caption": {"raw": "x"}}',
            "line 1 .* the caption is {'raw': 'x'}, not",
        ),
        (
            '{"image": "a.jpg", "caption": ["x", 7]}',
            "line 1 .* caption is 7, not a text",
        ),
        ('{"image": "a.jpg", "caption": "\\ud83d"}', "line 1 .* is not valid Unicode"),
        ('{"image": "a.jpg", "caption": "x", "split": 3}', "line 1: the split is 3, not a text"),
        ('{"image": "\\ud83d/a.jpg", "caption": "x"}', "none|1 of the 1 images"),
    ],
)
def test_bad_captions_files(home, content, fault):
    source = put(home, content)
    with pytest.raises(DataError, match=f"(?s){fault}") as caught:
        read_folder(captions=source)
    assert str(source) in str(caught.value)


def test_the_ending_decides_where_the_content_does_not(home):
    content = "photo,words\twords,text\na.jpg,x\ty,z\n"
    named = {"image_column": "photo", "caption_column": "words\twords"}
    source = put(home, content)
    assert read_folder(captions=source, **named).captions == ["x\ty"]
    source = put(home, "a\tb,c;d\n", "captions.txt")
    with pytest.raises(DataError, match="may be split by commas or by tabs or by semicolons; exp"):
        read_folder(captions=source)


# ---------------------------------------------------------------- files with random damage


def read_or_refused(home: Path, raw: bytes) -> set[tuple[str, str]]:
    """The (photo, caption) pairs that are read; nothing where the file is refused in words."""
    source = put(home, raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            message, pairs = "", read_folder(captions=source, max_missing=1.0)
        except DataError as error:
            message, pairs = str(error), None
    if pairs is None:
        assert str(home) in message, "the message does not say which file"
        return set()
    names = [image.relative_to(home).as_posix() for image in pairs.images]
    return {(names[o], c) for o, c in zip(pairs.owner, pairs.captions, strict=True)}


@pytest.mark.slow
@fuzzed
@given(
    hits=bites, encoding=st.sampled_from(["utf-8-sig", "utf-16"]), separator=st.sampled_from(",\t;")
)
def test_tables_with_bytes_bitten_out(home, hits, encoding, separator):
    raw = bitten(table(ROWS, separator=separator).encode(encoding), hits)
    read = read_or_refused(home, raw)
    if not read:
        return
    text = raw.decode(json.detect_encoding(raw))
    plain = set()
    for sign in ",\t;":  # as a reader without any checks pairs them
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=sign):
            stripped = [field.strip() for field in row]
            plain |= {(name.removeprefix("./"), other) for name in stripped for other in stripped}
    assert read <= plain, "it paired what does not belong together"


@pytest.mark.slow
@fuzzed
@given(hits=bites)
def test_json_lines_with_bytes_bitten_out(home, hits):
    raw = bitten(lines(ROWS).encode(), hits)
    read = read_or_refused(home, raw)
    text = raw.decode("utf-8-sig") if read else ""
    plain = {
        (str(name).strip(), str(other).strip())
        for line in text.split("\n")
        if line.strip()
        for record in [json.loads(line)]
        for name in record.values()
        for other in record.values()
    }
    assert read <= plain, "it paired what does not belong together"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@pytest.mark.slow
@fuzzed
@given(key=st.sampled_from(["image", "caption", "split"]), value=anything, line=st.integers(0, 1))
def test_json_lines_with_any_value_anywhere(home, key, value, line):
    records = [
        {"image": "a.jpg", "caption": "x", "split": "train"},
        {"image": "b.jpg", "caption": "y", "split": "train"},
    ]
    records[line][key] = value
    read = read_or_refused(home, "\n".join(map(json.dumps, records)).encode())
    captions = {str(text).strip() for text in (value if isinstance(value, list) else [value])}
    assert {caption for _, caption in read} <= {"x", "y"} | captions
