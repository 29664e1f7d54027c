"""Answers to tasks 4 and 5 of exercise 07: a state that is whole or not there."""

import contextlib
import io
import os
import pickle
import random
import shutil
import tempfile
from copy import deepcopy
from pathlib import Path

import torch


def state(model, optimizer, step, generator):
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "generator": generator.get_state(),
    }


# ---------------------------------------------------------------------------------------------
# Right ways to save


def renamed(path, model, optimizer, step, generator):
    part = f"{os.fspath(path)}.part"
    torch.save(state(model, optimizer, step, generator), part)
    os.replace(part, path)


def forced_to_disk(path, model, optimizer, step, generator):
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with open(part, "wb") as file:
        torch.save(state(model, optimizer, step, generator), file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def through_memory(path, model, optimizer, step, generator):
    buffer = io.BytesIO()
    torch.save({**state(model, optimizer, step, generator), "version": 1}, buffer)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path) or ".", delete=False) as file:
        file.write(buffer.getvalue())
    os.rename(file.name, path)


def tidies_up(path, model, optimizer, step, generator):
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / (target.name + ".tmp")
    try:
        torch.save(deepcopy(state(model, optimizer, step, generator)), draft)
        draft.rename(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


RIGHT_SAVES = [renamed, forced_to_disk, through_memory, tidies_up]

# ---------------------------------------------------------------------------------------------
# Wrong ways to save


def saving(change=lambda kept, model, optimizer, generator: kept):
    def save_state(path, model, optimizer, step, generator):
        kept = state(model, optimizer, step, generator)
        kept = change(kept, model, optimizer, generator)
        part = f"{os.fspath(path)}.part"
        torch.save(kept, part)
        os.replace(part, path)

    return save_state


def without(key):
    def change(kept, model, optimizer, generator):
        del kept[key]
        return kept

    return saving(change)


def instead(key, value):
    def change(kept, model, optimizer, generator):
        return {**kept, key: value(kept, model, optimizer, generator)}

    return saving(change)


def directly(path, model, optimizer, step, generator):
    torch.save(state(model, optimizer, step, generator), path)


def bytes_at_once(path, model, optimizer, step, generator):
    buffer = io.BytesIO()
    torch.save(state(model, optimizer, step, generator), buffer)
    Path(path).write_bytes(buffer.getvalue())


def deletes_first(path, model, optimizer, step, generator):
    path = Path(path)
    part = path.with_name(path.name + ".part")
    torch.save(state(model, optimizer, step, generator), part)
    path.unlink(missing_ok=True)
    part.rename(path)


def keeps_a_backup(path, model, optimizer, step, generator):
    path = Path(path)
    part = path.with_name(path.name + ".part")
    torch.save(state(model, optimizer, step, generator), part)
    if path.exists():
        path.rename(path.with_name(path.name + ".old"))
    part.rename(path)


def copies(path, model, optimizer, step, generator):
    part = f"{os.fspath(path)}.part"
    torch.save(state(model, optimizer, step, generator), part)
    shutil.copyfile(part, path)
    os.remove(part)


def from_tmp(path, model, optimizer, step, generator):
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "state"
        torch.save(state(model, optimizer, step, generator), part)
        shutil.move(part, path)


def leaves_the_draft(path, model, optimizer, step, generator):
    path = Path(path)
    part, second = path.with_name(path.name + ".part"), path.with_name(path.name + ".part2")
    torch.save(state(model, optimizer, step, generator), part)
    shutil.copyfile(part, second)
    second.replace(path)


def only_once(path, model, optimizer, step, generator):
    if not os.path.exists(path):
        renamed(path, model, optimizer, step, generator)


def keeps_quiet(path, model, optimizer, step, generator):
    with contextlib.suppress(Exception):
        renamed(path, model, optimizer, step, generator)


def another_ending(path, model, optimizer, step, generator):
    renamed(Path(path).with_suffix(".pt"), model, optimizer, step, generator)


def paths_only(path, model, optimizer, step, generator):
    part = path.with_name(path.name + ".part")
    torch.save(state(model, optimizer, step, generator), part)
    part.replace(path)


def texts_only(path, model, optimizer, step, generator):
    part = path + ".part"
    torch.save(state(model, optimizer, step, generator), part)
    os.replace(part, path)


def draws_once_more(path, model, optimizer, step, generator):
    renamed(path, model, optimizer, step, generator)
    torch.rand(1, generator=generator)


def switches_to_eval(path, model, optimizer, step, generator):
    model.eval()
    renamed(path, model, optimizer, step, generator)


def clears_the_optimiser(path, model, optimizer, step, generator):
    renamed(path, model, optimizer, step, generator)
    optimizer.state.clear()


def pickles(path, model, optimizer, step, generator):
    part = f"{os.fspath(path)}.part"
    with open(part, "wb") as file:
        pickle.dump(state(model, optimizer, step, generator), file)
    os.replace(part, path)


def writes_nothing(path, model, optimizer, step, generator):
    return state(model, optimizer, step, generator)


def halves(kept, model, optimizer, generator):
    return {name: each.half() for name, each in kept["model"].items()}


WRONG_SAVES = {
    "directly": ("incomplete file", directly),
    "bytes at once": ("incomplete file", bytes_at_once),
    "deletes first": ("no file stands", deletes_first),
    "keeps a backup": ("no file stands", keeps_a_backup),
    "copies": ("incomplete file", copies),
    "from another folder": ("another folder", from_tmp),
    "a draft is left": ("left over", leaves_the_draft),
    "only once": ("nothing is written", only_once),
    "keeps quiet": ("nobody hears", keeps_quiet),
    "another ending": ("another ending", another_ending),
    "paths only": ("path = Path(path)", paths_only),
    "texts only": ("PosixPath", texts_only),
    "no model": ("no 'model'", without("model")),
    "no optimiser": ("no 'optimizer'", without("optimizer")),
    "no step": ("no 'step'", without("step")),
    "no generator": ("no 'generator'", without("generator")),
    "other names": (
        "its keys are",
        saving(lambda k, m, o, g: {"weights": k["model"], "opt": k["optimizer"]}),
    ),
    "a tuple": ("holds a tuple", saving(lambda k, m, o, g: tuple(k.values()))),
    "the module itself": ("weights_only", instead("model", lambda k, m, o, g: m)),
    "parameters only": (
        "running averages",
        instead("model", lambda k, m, o, g: dict(m.named_parameters())),
    ),
    "a list of parameters": (
        "'model' is a list",
        instead("model", lambda k, m, o, g: list(m.parameters())),
    ),
    "one branch": ("lacks", instead("model", lambda k, m, o, g: m["image"].state_dict())),
    "in float16": ("to the last bit", instead("model", halves)),
    "rates only": (
        "averages of each weight",
        instead("optimizer", lambda k, m, o, g: {"param_groups": k["optimizer"]["param_groups"]}),
    ),
    "averages only": (
        "rates as they are now",
        instead("optimizer", lambda k, m, o, g: {"state": k["optimizer"]["state"]}),
    ),
    "the optimiser's defaults": (
        "averages of each weight",
        instead("optimizer", lambda k, m, o, g: o.defaults),
    ),
    "a new optimiser": (
        "averages of each weight",
        instead("optimizer", lambda k, m, o, g: torch.optim.AdamW(m.parameters()).state_dict()),
    ),
    "the next step": ("one too many", saving(lambda k, m, o, g: {**k, "step": k["step"] + 1})),
    "the step as text": ("handed over", saving(lambda k, m, o, g: {**k, "step": str(k["step"])})),
    "the seed": ("such as its seed", instead("generator", lambda k, m, o, g: g.initial_seed())),
    "the shared state": (
        "all code shares",
        instead("generator", lambda k, m, o, g: torch.get_rng_state()),
    ),
    "Python's state": (
        "generator.get_state()",
        instead("generator", lambda k, m, o, g: random.getstate()[0:2]),
    ),
    "draws once more": ("is changed by saving", draws_once_more),
    "eval": ("is changed by saving", switches_to_eval),
    "the optimiser is cleared": ("is changed by saving", clears_the_optimiser),
    "pickle": ("weights_only", pickles),
    "writes nothing": ("no file at path", writes_nothing),
}


# ---------------------------------------------------------------------------------------------
# Right ways to load


def plain(path, model, optimizer, generator):
    kept = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    generator.set_state(kept["generator"])
    return kept["step"]


def by_default(path, model, optimizer, generator):
    kept = torch.load(Path(path), map_location=torch.device("cpu"))
    generator.set_state(kept["generator"].cpu())
    optimizer.load_state_dict(kept["optimizer"])
    model.load_state_dict(kept["model"], strict=True)
    return int(kept["step"])


def from_an_open_file(path, model, optimizer, generator):
    with open(path, "rb") as file:
        kept = torch.load(io.BytesIO(file.read()), map_location=lambda storage, place: storage)
    with torch.no_grad():
        missing, unexpected = model.load_state_dict(kept.pop("model"))
    assert not missing and not unexpected
    optimizer.load_state_dict(kept.pop("optimizer"))
    generator.set_state(kept.pop("generator"))
    return kept["step"]


RIGHT_LOADS = [plain, by_default, from_an_open_file]

# ---------------------------------------------------------------------------------------------
# Wrong ways to load: `loading` with one line changed


def nothing(*args):
    pass


def loading(
    read=lambda path: torch.load(path, map_location="cpu", weights_only=True),
    weights=lambda model, kept: model.load_state_dict(kept),
    averages=lambda optimizer, kept: optimizer.load_state_dict(kept),
    chance=lambda generator, kept: generator.set_state(kept["generator"]),
    end=lambda kept: kept["step"],
):
    def load_state(path, model, optimizer, generator):
        kept = read(path)
        weights(model, kept["model"])
        averages(optimizer, kept["optimizer"])
        chance(generator, kept)
        return end(kept)

    return load_state


def parameters_only(model, kept):
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(kept[name])


def new_parameters(model, kept):
    for name, p in list(model.named_parameters()):
        module = model.get_submodule(name.rpartition(".")[0])
        setattr(module, name.rpartition(".")[2], torch.nn.Parameter(p.detach().clone()))
    model.load_state_dict(kept)


def another_name(model, kept):
    model = deepcopy(model)
    model.load_state_dict(kept)


def rates_only(optimizer, kept):
    for group, old in zip(optimizer.param_groups, kept["param_groups"], strict=True):
        group["lr"] = old["lr"]


def averages_only(optimizer, kept):
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": kept["state"], "param_groups": groups})


def nothing_to_resume(path, model, optimizer, generator):
    if not os.path.exists(path):
        return 0
    return plain(path, model, optimizer, generator)


def begins_anew(path, model, optimizer, generator):
    try:
        return plain(path, model, optimizer, generator)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
        return 0


def damaged_is_zero(path, model, optimizer, generator):
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception:
        return 0
    return loading(read=lambda path: kept)(path, model, optimizer, generator)


def deletes(path, model, optimizer, generator):
    step = plain(path, model, optimizer, generator)
    os.remove(path)
    return step


def trains(path, model, optimizer, generator):
    step = plain(path, model, optimizer, generator)
    model.train()
    return step


def sets_the_shared_state(path, model, optimizer, generator):
    step = plain(path, model, optimizer, generator)
    torch.manual_seed(step)
    return step


def resets_first(path, model, optimizer, generator):
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    return plain(path, model, optimizer, generator)


def shapes_that_fit(model, kept):
    own = model.state_dict()
    fits = {k: v for k, v in kept.items() if k in own and v.shape == own[k].shape}
    model.load_state_dict({**own, **fits})


def careless(path):
    return torch.load(path, map_location="cpu", weights_only=False)


def texts_only(path, model, optimizer, generator):
    return plain(path + "", model, optimizer, generator)


def state_by_hand(optimizer, kept):
    optimizer.state.update(kept["state"])
    rates_only(optimizer, kept)


def a_new_generator(generator, kept):
    generator = torch.Generator()
    generator.set_state(kept["generator"])


def draws(generator, kept):
    generator.set_state(kept["generator"])
    torch.rand(1, generator=generator)


WRONG_LOADS = {
    "no model": ("weights are not those", loading(weights=nothing)),
    "another name": ("a new name", loading(weights=another_name)),
    "parameters only": ("running averages of the batch norms", loading(weights=parameters_only)),
    "new parameters": ("replaced by new ones", loading(weights=new_parameters)),
    "no optimiser": ("optimiser's averages", loading(averages=nothing)),
    "rates only": ("optimiser's averages", loading(averages=rates_only)),
    "averages only": ("another learning rate", loading(averages=averages_only)),
    "no generator": ("generator.set_state", loading(chance=nothing)),
    "seeded by the step": (
        "generator.set_state",
        loading(chance=lambda g, kept: g.manual_seed(kept["step"])),
    ),
    "draws": ("generator does not go on", loading(chance=draws)),
    "the shared state instead": (
        "generator.set_state",
        loading(chance=lambda g, kept: torch.set_rng_state(kept["generator"])),
    ),
    "nothing at all": (
        "nothing is put back",
        loading(weights=nothing, averages=nothing, chance=nothing),
    ),
    "two forgotten": ("; and the generator", loading(averages=nothing, chance=nothing)),
    "the whole dict": ("dict is returned", loading(end=lambda kept: kept)),
    "no return": ("nothing is returned", loading(end=nothing)),
    "the next step": ("one step too many", loading(end=lambda kept: kept["step"] + 1)),
    "always 0": ("returned step is 0", loading(end=lambda kept: 0)),
    "a tensor": ("tensor", loading(end=lambda kept: torch.tensor(kept["step"]))),
    "strict=False": (
        "strict=False",
        loading(weights=lambda m, kept: m.load_state_dict(kept, strict=False)),
    ),
    "what fits": ("without an error", loading(weights=shapes_that_fit)),
    "nothing to resume": ("FileNotFoundError", nothing_to_resume),
    "begins anew": ("nobody hears of it", begins_anew),
    "damaged is 0": ("cut off", damaged_is_zero),
    "weights reset first": ("changes the training", resets_first),
    "runs code": ("weights_only=True", loading(read=careless)),
    "no map_location": ("map_location", loading(read=lambda p: torch.load(p, weights_only=True))),
    "the optimiser by hand": ("same bits", loading(averages=state_by_hand)),
    "groups replaced": (
        "load_state_dict",
        loading(
            averages=lambda o, kept: o.param_groups.__setitem__(slice(None), kept["param_groups"])
        ),
    ),
    "a new generator": ("generator.set_state", loading(chance=a_new_generator)),
    "deletes the file": ("changed or deleted", deletes),
    "train()": ("leave its mode", trains),
    "seeds everything": ("random numbers", sets_the_shared_state),
    "texts only": ("PosixPath", texts_only),
}
