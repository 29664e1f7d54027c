"""Answers to task 4 of exercise 07: a state that is whole or not there."""

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


RIGHT = [renamed, forced_to_disk, through_memory, tidies_up]

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


def cuts_off(path, model, optimizer, step, generator):
    renamed(path, model, optimizer, step, generator)
    os.truncate(path, 100)


def renames_first(path, model, optimizer, step, generator):
    part = Path(f"{path}.part")
    part.touch()
    part.replace(path)
    torch.save(state(model, optimizer, step, generator), path)


def renames_before_it_is_closed(path, model, optimizer, step, generator):
    buffer = io.BytesIO()
    torch.save(state(model, optimizer, step, generator), buffer)
    with open(f"{path}.part", "wb", buffering=1 << 20) as file:
        file.write(buffer.getvalue())
        os.replace(f"{path}.part", path)


def by_suffix(path, model, optimizer, step, generator, ending=".part"):
    part = Path(path).with_suffix(ending)
    torch.save(state(model, optimizer, step, generator), part)
    os.replace(part, path)


def by_suffix_tmp(path, model, optimizer, step, generator):
    by_suffix(path, model, optimizer, step, generator, ".tmp")


def in_the_working_folder(path, model, optimizer, step, generator):
    with contextlib.chdir(tempfile.gettempdir()):
        torch.save(state(model, optimizer, step, generator), "run_of_mine.part")
        os.replace("run_of_mine.part", path)


def copied_back(path, model, optimizer, step, generator):
    backup = f"{path}.old"
    if os.path.exists(path):
        shutil.copy(path, backup)
    try:
        torch.save(state(model, optimizer, step, generator), path)
    except Exception:
        os.replace(backup, path)
        raise


def two_files(path, model, optimizer, step, generator):
    torch.save(model.state_dict(), f"{path}.model")
    renamed(path, model, optimizer, step, generator)


def renames_in_any_case(path, model, optimizer, step, generator):
    part = f"{path}.part"
    try:
        torch.save(state(model, optimizer, step, generator), part)
    finally:
        os.replace(part, path)


def prints_the_error(path, model, optimizer, step, generator):
    try:
        renamed(path, model, optimizer, step, generator)
    except Exception as error:
        print("not saved:", error)


def clears_gradients(path, model, optimizer, step, generator):
    optimizer.zero_grad()
    renamed(path, model, optimizer, step, generator)


def freezes(path, model, optimizer, step, generator):
    model.requires_grad_(False)
    renamed(path, model, optimizer, step, generator)


def halves(kept, model, optimizer, generator):
    return {name: each.half() for name, each in kept["model"].items()}


WRONG = {
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
    "the module itself": ("the ModuleDict itself", instead("model", lambda k, m, o, g: m)),
    "the generator itself": ("generator.get_state()", instead("generator", lambda k, m, o, g: g)),
    "numpy arrays": (
        "numpy arrays",
        instead("model", lambda k, m, o, g: {n: each.numpy() for n, each in k["model"].items()}),
    ),
    "the state as a list": (
        "generator.get_state()",
        instead("generator", lambda k, m, o, g: k["generator"].tolist()),
    ),
    "the step as a tensor": (
        "handed over",
        saving(lambda k, m, o, g: {**k, "step": torch.tensor(k["step"])}),
    ),
    "cut off": ("it is cut off", cuts_off),
    "renamed before it is written": ("incomplete file", renames_first),
    "not closed": ("incomplete file", renames_before_it_is_closed),
    "by with_suffix": ("with_suffix", by_suffix),
    "by with_suffix, tmp": ("with_suffix", by_suffix_tmp),
    "in the working folder": ("another folder", in_the_working_folder),
    "a copy is kept": ("incomplete file", copied_back),
    "two files": ("left over", two_files),
    "renamed in any case": ("where writing fails", renames_in_any_case),
    "says so and goes on": ("nobody hears", prints_the_error),
    "clears gradients": ("gradients", clears_gradients),
    "freezes": ("requires_grad", freezes),
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
    "pickle": ("something else than torch.save", pickles),
    "writes nothing": ("no file at path", writes_nothing),
}
