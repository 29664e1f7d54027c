"""Answers to task 1 of exercise 01: reading captions."""

from collections import defaultdict
from itertools import groupby

import torch


def grouped(annotations):
    captions_of = {image["id"]: [] for image in annotations["images"]}
    for record in annotations["annotations"]:
        if record["image_id"] not in captions_of:
            raise ValueError(f"caption {record['id']}: no image {record['image_id']}")
        captions_of[record["image_id"]].append(record["caption"])
    file_names, captions, owner = [], [], []
    for image in annotations["images"]:
        if captions_of[image["id"]]:
            owner += [len(file_names)] * len(captions_of[image["id"]])
            file_names.append(image["file_name"])
            captions += captions_of[image["id"]]
    return file_names, captions, torch.tensor(owner, dtype=torch.int64)


def by_sorting(annotations):
    position = {image["id"]: place for place, image in enumerate(annotations["images"])}
    unknown = [r["image_id"] for r in annotations["annotations"] if r["image_id"] not in position]
    if unknown:
        raise ValueError("captions without an image: " + ", ".join(map(str, unknown)))
    records = sorted(annotations["annotations"], key=lambda r: position[r["image_id"]])
    places = [position[r["image_id"]] for r in records]
    used = sorted(set(places))
    number = {place: k for k, place in enumerate(used)}
    owner = torch.as_tensor([number[place] for place in places]).long()
    names = [annotations["images"][place]["file_name"] for place in used]
    return names, [r["caption"] for r in records], owner


def with_unique(annotations):
    images, records = list(annotations["images"]), list(annotations["annotations"])
    row = {image["id"]: i for i, image in enumerate(images)}
    try:
        rows = torch.tensor([row[r["image_id"]] for r in records], dtype=torch.long)
    except KeyError as missing:
        raise ValueError(f"image {missing} is not in the file") from None
    order = torch.argsort(rows, stable=True)
    kept, owner = torch.unique(rows[order], return_inverse=True)
    names = [images[i]["file_name"] for i in kept.tolist()]
    return names, [records[j]["caption"] for j in order.tolist()], owner


def with_setdefault(annotations):
    groups = {}
    known = {image["id"] for image in annotations["images"]}
    for record in annotations["annotations"]:
        assert isinstance(record["caption"], str)
        if record["image_id"] not in known:
            raise ValueError(f"{record['image_id']}?")
        groups.setdefault(record["image_id"], []).append(record["caption"])
    images = [image for image in annotations["images"] if image["id"] in groups]
    counts = [len(groups[image["id"]]) for image in images]
    owner = torch.arange(len(images)).repeat_interleave(torch.tensor(counts, dtype=torch.int64))
    captions = [caption for image in images for caption in groups[image["id"]]]
    return [image["file_name"] for image in images], captions, owner


RIGHT = [grouped, by_sorting, with_unique, with_setdefault]

# ---------------------------------------------------------------------------------------------


def five_each(annotations):
    names = [image["file_name"] for image in annotations["images"]]
    captions = [record["caption"] for record in annotations["annotations"]]
    owner = torch.tensor([j // 5 for j in range(len(captions))], dtype=torch.int64)
    return names, captions, owner


def unsorted(annotations):
    used = {r["image_id"] for r in annotations["annotations"]}
    images = [image for image in annotations["images"] if image["id"] in used]
    index = {image["id"]: i for i, image in enumerate(images)}
    captions, owner = [], []
    for record in annotations["annotations"]:
        captions.append(record["caption"])
        owner.append(index[record["image_id"]])
    return [i["file_name"] for i in images], captions, torch.tensor(owner, dtype=torch.int64)


def owners_sorted(annotations):
    names, captions, owner = unsorted(annotations)
    return names, captions, owner.sort()[0]


def images_kept(annotations):
    captions_of = defaultdict(list)
    for record in annotations["annotations"]:
        captions_of[record["image_id"]].append(record["caption"])
    names, captions, owner = [], [], []
    for i, image in enumerate(annotations["images"]):
        names.append(image["file_name"])
        for caption in captions_of[image["id"]]:
            captions.append(caption)
            owner.append(i)
    return names, captions, torch.tensor(owner, dtype=torch.int64)


def gaps_in_owner(annotations):
    captions_of = defaultdict(list)
    for record in annotations["annotations"]:
        captions_of[record["image_id"]].append(record["caption"])
    names, captions, owner = [], [], []
    for i, image in enumerate(annotations["images"]):
        if image["id"] in captions_of:
            names.append(image["file_name"])
        for caption in captions_of[image["id"]]:
            captions.append(caption)
            owner.append(i)
    return names, captions, torch.tensor(owner, dtype=torch.int64)


def ids_as_owner(annotations):
    names, captions, owner = grouped(annotations)
    ids = {image["file_name"]: image["id"] for image in annotations["images"]}
    return names, captions, torch.tensor([ids[names[i]] for i in owner], dtype=torch.int64)


def from_one(annotations):
    names, captions, owner = grouped(annotations)
    return names, captions, owner + 1


def last_caption_alone(annotations):
    caption_of = {r["image_id"]: r["caption"] for r in annotations["annotations"]}
    images = [image for image in annotations["images"] if image["id"] in caption_of]
    captions = [caption_of[image["id"]] for image in images]
    return [image["file_name"] for image in images], captions, torch.arange(len(images))


def first_caption_alone(annotations):
    names, captions, owner = grouped(annotations)
    first = [j for j in range(len(owner)) if j == 0 or owner[j] != owner[j - 1]]
    return names, [captions[j] for j in first], torch.arange(len(names))


def sorted_by_id(annotations):
    images = sorted(annotations["images"], key=lambda image: image["id"])
    return grouped({**annotations, "images": images})


def sorted_by_name(annotations):
    images = sorted(annotations["images"], key=lambda image: image["file_name"])
    return grouped({**annotations, "images": images})


def as_mentioned(annotations):
    name_of = {image["id"]: image["file_name"] for image in annotations["images"]}
    groups = defaultdict(list)
    for record in annotations["annotations"]:
        groups[record["image_id"]].append(record["caption"])
    owner = [i for i, group in enumerate(groups.values()) for _ in group]
    captions = [caption for group in groups.values() for caption in group]
    return [name_of[i] for i in groups], captions, torch.tensor(owner, dtype=torch.int64)


def annotations_sorted_by_id(annotations):
    records = sorted(annotations["annotations"], key=lambda record: record["id"])
    return grouped({**annotations, "annotations": records})


def annotations_sorted_in_place(annotations):
    annotations["annotations"].sort(key=lambda record: record["image_id"])
    return grouped(annotations)


def in_a_set(annotations):
    names, captions, owner = grouped(annotations)
    seen = list(dict.fromkeys(zip(owner.tolist(), captions, strict=True)))
    owner = torch.tensor([i for i, _ in seen], dtype=torch.int64)
    return names, [caption for _, caption in seen], owner


def tidied(annotations):
    names, captions, owner = grouped(annotations)
    return names, [caption.strip() for caption in captions], owner


def lowered(annotations):
    names, captions, owner = grouped(annotations)
    return names, [caption.lower() for caption in captions], owner


def names_repeated(annotations):
    names, captions, owner = grouped(annotations)
    return [names[int(i)] for i in owner], captions, owner


def whole_images(annotations):
    names, captions, owner = grouped(annotations)
    images = [image for image in annotations["images"] if image["file_name"] in names]
    return images, captions, owner


def owner_in_a_list(annotations):
    names, captions, owner = grouped(annotations)
    return names, captions, owner.tolist()


def owner_in_floats(annotations):
    names, captions, owner = grouped(annotations)
    return names, captions, owner.float()


def owner_in_int32(annotations):
    names, captions, owner = grouped(annotations)
    return names, captions, owner.int()


def owner_without_dtype(annotations):
    names, captions, owner = grouped(annotations)
    return names, captions, torch.tensor(owner.tolist())


def owner_forgotten(annotations):
    return grouped(annotations)[:2]


def owner_first(annotations):
    names, captions, owner = grouped(annotations)
    return owner, names, captions


def captions_nested(annotations):
    names, captions, owner = grouped(annotations)
    groups = [
        [c for c, i in zip(captions, owner, strict=True) if i == k] for k in range(len(names))
    ]
    return names, groups, owner


def dropping_unlisted(annotations):
    ids = {image["id"] for image in annotations["images"]}
    known = [r for r in annotations["annotations"] if r["image_id"] in ids]
    return grouped({**annotations, "annotations": known})


def key_error(annotations):
    return unsorted({**annotations, "annotations": sorted_records(annotations)})


def sorted_records(annotations):
    place = {image["id"]: i for i, image in enumerate(annotations["images"])}
    return sorted(annotations["annotations"], key=lambda r: place[r["image_id"]])


def silent_error(annotations):
    try:
        return grouped(annotations)
    except ValueError:
        raise ValueError("a caption has no image") from None


def once_per_image(annotations):
    grouped(annotations)
    names, captions, owner = [], [], []
    for image in annotations["images"]:
        own = [r["caption"] for r in annotations["annotations"] if r["image_id"] == image["id"]]
        if own:
            owner += [len(names)] * len(own)
            names.append(image["file_name"])
            captions += own
    return names, captions, torch.tensor(owner, dtype=torch.int64)


def once_per_caption(annotations):
    grouped(annotations)
    for record in annotations["annotations"]:
        for image in annotations["images"]:
            if image["id"] == record["image_id"]:
                break
    return grouped(annotations)


def ids_searched(annotations):
    ids = [image["id"] for image in annotations["images"]]
    places = [ids.index(record["image_id"]) for record in annotations["annotations"]]
    order = sorted(range(len(places)), key=lambda j: places[j])
    number = {place: k for k, place in enumerate(sorted(set(places)))}
    names = [annotations["images"][place]["file_name"] for place in number]
    owner = torch.tensor([number[places[j]] for j in order], dtype=torch.int64)
    return names, [annotations["annotations"][j]["caption"] for j in order], owner


def names_searched(annotations):
    names, captions, owner = grouped(annotations)
    places = [names.index(names[int(i)]) for i in owner]
    return names, captions, torch.tensor(places, dtype=torch.int64)


def asserted(annotations):
    ids = {image["id"] for image in annotations["images"]}
    for record in annotations["annotations"]:
        assert record["image_id"] in ids, f"no image {record['image_id']}"
    return grouped(annotations)


def neighbours_grouped(annotations):
    name_of = {image["id"]: image["file_name"] for image in annotations["images"]}
    names, captions, owner = [], [], []
    for image_id, group in groupby(annotations["annotations"], key=lambda r: r["image_id"]):
        texts = [record["caption"] for record in group]
        owner += [len(names)] * len(texts)
        names.append(name_of[image_id])
        captions += texts
    return names, captions, torch.tensor(owner, dtype=torch.int64)


def all_names(annotations):
    _, captions, owner = grouped(annotations)
    return [image["file_name"] for image in annotations["images"]], captions, owner


def kept_in_the_records(annotations):
    image_of = {image["id"]: image for image in annotations["images"]}
    for record in annotations["annotations"]:
        image_of[record["image_id"]].setdefault("captions", []).append(record["caption"])
    return grouped(annotations)


WRONG = {
    "five each": ("image_id", five_each),
    "not grouped": ("not sorted by image", unsorted),
    "owners sorted alone": ("`owner` is sorted and the captions are not", owners_sorted),
    "images without captions": ("without captions are kept", images_kept),
    "gaps in owner": ("left out, too", gaps_in_owner),
    "ids as owner": ("image ids", ids_as_owner),
    "from one": ("from 1", from_one),
    "last caption alone": ("last caption", last_caption_alone),
    "first caption alone": ("first caption", first_caption_alone),
    "images by id": ("sorted by their id", sorted_by_id),
    "images by name": ("sorted by their file name", sorted_by_name),
    "images as mentioned": ("mention", as_mentioned),
    "captions by id": ("sorted by their id", annotations_sorted_by_id),
    "sorted in place": ("in place", annotations_sorted_in_place),
    "captions twice": ("twice", in_a_set),
    "tidied": ("white space", tidied),
    "lowered": ("lower case", lowered),
    "names repeated": ("repeated", names_repeated),
    "whole images": ("file_name", whole_images),
    "owner in a list": ("list", owner_in_a_list),
    "owner in floats": ("int64", owner_in_floats),
    "owner in int32": ("int64", owner_in_int32),
    "owner without dtype": ("dtype=torch.int64", owner_without_dtype),
    "owner forgotten": ("3", owner_forgotten),
    "owner first": ("one tensor is wanted", owner_first),
    "captions nested": ("nested", captions_nested),
    "unlisted dropped": ("dropped without a word", dropping_unlisted),
    "key error": ("KeyError", key_error),
    "silent error": ("does not say which", silent_error),
    "once per image": ("anew for every image", once_per_image),
    "once per caption": ("anew for every caption", once_per_caption),
    "ids searched": ("searched for every caption", ids_searched),
    "names searched": ("searched for every caption", names_searched),
    "asserted": ("AssertionError", asserted),
    "neighbours grouped": ("run of neighbours", neighbours_grouped),
    "all names": ("which `owner` does not count", all_names),
    "kept in the records": ("in place", kept_in_the_records),
    "nothing returned": ("nothing is returned", lambda annotations: None),
}
