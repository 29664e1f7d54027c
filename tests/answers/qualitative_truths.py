"""Answers to task 4 of exercise 09: which captions are true of which pictures."""

import torch

# ---------------------------------------------------------------------------------------------
# Right


def count_fits(said, there):
    return there > 1 if said is None else said == there


def same(said, there):
    return said is None or said == there


def facts(caption, scene, count=count_fits, size=same, place=same):
    """Whether each thing that a caption claims is true of a picture."""
    there = {group["kind"]: group for group in scene["objects"]}
    found = [place(caption["place"], scene["place"])]
    for mention in caption["mentions"]:
        group = there.get(mention["kind"])
        found.append(
            group is not None
            and count(mention["count"], group["count"])
            and size(mention["size"], group["size"])
        )
    return found


def table(captions_scene, scenes, true):
    answer = torch.zeros(len(scenes), len(captions_scene), dtype=torch.bool)
    for i, scene in enumerate(scenes):
        for j, caption in enumerate(captions_scene):
            answer[i, j] = bool(true(caption, scene))
    return answer


def in_loops(captions_scene, scenes):
    return table(captions_scene, scenes, lambda caption, scene: all(facts(caption, scene)))


def by_refusing(captions_scene, scenes):
    rows = []
    for scene in scenes:
        row = []
        for caption in captions_scene:
            good = True
            if caption["place"] is not None and caption["place"] != scene["place"]:
                good = False
            for mention in caption["mentions"]:
                groups = [g for g in scene["objects"] if g["kind"] == mention["kind"]]
                if not groups:
                    good = False
                    continue
                if mention["count"] is None and groups[0]["count"] < 2:
                    good = False
                if mention["count"] is not None and mention["count"] != groups[0]["count"]:
                    good = False
                if mention["size"] and mention["size"] != groups[0]["size"]:
                    good = False
            row.append(good)
        rows.append(row)
    return torch.tensor(rows)


def by_kind_first(captions_scene, scenes):
    showing = {}
    for i, scene in enumerate(scenes):
        for group in scene["objects"]:
            showing.setdefault(group["kind"], set()).add(i)
    answer = torch.full((len(scenes), len(captions_scene)), False)
    for j, caption in enumerate(captions_scene):
        left = set(range(len(scenes)))
        for mention in caption["mentions"]:
            left &= showing.get(mention["kind"], set())
        for i in left:
            answer[i, j] = all(facts(caption, scenes[i]))
    return answer


def by_sets_of_facts(captions_scene, scenes):
    shown = []
    for scene in scenes:
        known = {("place", scene["place"])}
        for group in scene["objects"]:
            kind = group["kind"]
            known |= {(kind, "count", group["count"]), (kind, "size", group["size"])}
            known |= {(kind, "count", None)} if group["count"] > 1 else set()
        shown.append(known)
    columns = []
    for caption in captions_scene:
        said = {("place", caption["place"])} if caption["place"] else set()
        for mention in caption["mentions"]:
            said.add((mention["kind"], "count", mention["count"]))
            if mention["size"]:
                said.add((mention["kind"], "size", mention["size"]))
        columns.append(torch.tensor([said <= known for known in shown]))
    return torch.stack(columns, dim=1)


RIGHT = [in_loops, by_refusing, by_kind_first, by_sets_of_facts]

# ---------------------------------------------------------------------------------------------
# Wrong


def but(every=all, **steps):
    return lambda captions_scene, scenes: table(
        captions_scene, scenes, lambda caption, scene: every(facts(caption, scene, **steps))
    )


def by_place_in_the_lists(captions_scene, scenes):
    def true(caption, scene):
        return same(caption["place"], scene["place"]) and all(
            mention["kind"] == group["kind"]
            and count_fits(mention["count"], group["count"])
            and same(mention["size"], group["size"])
            for mention, group in zip(caption["mentions"], scene["objects"], strict=False)
        )

    return table(captions_scene, scenes, true)


def named_alone(captions_scene, scenes):
    return table(
        captions_scene,
        scenes,
        lambda caption, scene: (
            all(facts(caption, scene)) and len(caption["mentions"]) == len(scene["objects"])
        ),
    )


def needs_a_kind(captions_scene, scenes):
    return table(
        captions_scene,
        scenes,
        lambda caption, scene: caption["mentions"] and all(facts(caption, scene)),
    )


def of_any_kind(key):
    def true(caption, scene):
        there = {group["kind"]: dict(group) for group in scene["objects"]}
        for mention in caption["mentions"]:
            if any(group[key] == mention[key] for group in scene["objects"]):
                there.get(mention["kind"], {})[key] = mention[key]
        return all(facts(caption, {"place": scene["place"], "objects": list(there.values())}))

    return lambda captions_scene, scenes: table(captions_scene, scenes, true)


def the_first_alone(captions_scene, scenes):
    answer = in_loops(captions_scene, scenes)
    return answer & (answer.cumsum(0) == 1)


def pops_mentions(captions_scene, scenes):
    answer = in_loops(captions_scene, scenes)
    for caption in captions_scene:
        caption["mentions"].clear()
    return answer


def looks_up_without_get(captions_scene, scenes):
    def true(caption, scene):
        there = {group["kind"]: group for group in scene["objects"]}
        return all(
            same(mention["size"], there[mention["kind"]]["size"]) for mention in caption["mentions"]
        )

    return table(captions_scene, scenes, true)


WRONG = {
    "some is any": ("taken for any number", but(count=same)),
    "some is never": ("count none is never true", but(count=lambda said, there: said == there)),
    "some is two": ("exactly two", but(count=lambda said, there: (said or 2) == there)),
    "some is one": ("taken for one", but(count=lambda said, there: (said or 1) == there)),
    "some is three": (
        "three or more",
        but(count=lambda said, there: there > 2 if said is None else said == there),
    ),
    "no counts": ("counts are not looked at", but(count=lambda said, there: True)),
    "at least": (
        "more of a kind",
        but(count=lambda said, there: there >= (2 if said is None else said)),
    ),
    "at most": (
        "fewer of a kind",
        but(count=lambda said, there: there > 1 if said is None else there <= said),
    ),
    "one or many": ("several", but(count=lambda said, there: (said == 1) == (there == 1))),
    "no sizes": ("sizes are not looked at", but(size=lambda said, there: True)),
    "unsaid sizes": ("unsaid size is never", but(size=lambda said, there: said == there)),
    "unsaid is normal": ("normal", but(size=lambda said, there: (said or "normal") == there)),
    "no places": ("places are not looked at", but(place=lambda said, there: True)),
    "unsaid places": ("unsaid place", but(place=lambda said, there: said == there)),
    "nothing unsaid": (
        "not said is taken for untrue",
        but(
            count=lambda said, there: said == there,
            size=lambda said, there: said == there,
            place=lambda said, there: said == there,
        ),
    ),
    "kinds alone": (
        "only the kinds",
        but(
            count=lambda said, there: True,
            size=lambda said, there: True,
            place=lambda said, there: True,
        ),
    ),
    "one true fact": ("one true fact", but(every=any)),
    "one untrue fact": ("one untrue fact", but(every=lambda found: found.count(False) < 2)),
    "first kind": ("first kind alone", but(every=lambda found: all(found[:2]))),
    "last kind": ("last kind alone", but(every=lambda found: found[0] and found[-1])),
    "turned round": ("turned round", but(every=lambda found: not all(found))),
    "named alone": ("leaving a kind out", named_alone),
    "needs a kind": ("names no kind", needs_a_kind),
    "in order": ("places in the two lists", by_place_in_the_lists),
    "size of any": ("size is looked for", of_any_kind("size")),
    "count of any": ("count is looked for", of_any_kind("count")),
    "first picture": ("mark them all", the_first_alone),
    "transposed": ("transposed", lambda c, s: in_loops(c, s).T),
    "not bool": ("dtype", lambda c, s: in_loops(c, s).float()),
    "integers": ("dtype", lambda c, s: in_loops(c, s).long()),
    "a list": ("list", lambda c, s: in_loops(c, s).tolist()),
    "numpy": ("numpy", lambda c, s: in_loops(c, s).numpy()),
    "how many": ("shape", lambda c, s: in_loops(c, s).sum(0)),
    "clears the mentions": ("in place", pops_mentions),
    "KeyError": ("KeyError", looks_up_without_get),
    "no return": ("nothing is returned", lambda c, s: None),
}
