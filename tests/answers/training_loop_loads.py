"""Answers to task 5 of exercise 07: a training goes on with the same bits."""

import io
import os
import pickle
from copy import deepcopy
from pathlib import Path

import torch

from answers.training_loop_saves import state

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


RIGHT = [plain, by_default, from_an_open_file]

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


def deletes_what_it_cannot_read(path, model, optimizer, generator):
    try:
        return plain(path, model, optimizer, generator)
    except RuntimeError:
        os.remove(path)
        raise


def saves_again(path, model, optimizer, generator):
    step = plain(path, model, optimizer, generator)
    torch.save(state(model, optimizer, step, generator), path)
    return step


def evaluates(path, model, optimizer, generator):
    step = plain(path, model, optimizer, generator)
    model.eval()
    return step


def freezes_what_it_loads(path, model, optimizer, generator):
    step = plain(path, model, optimizer, generator)
    model.requires_grad_(False)
    return step


def assigned(model, kept):
    model.load_state_dict(kept, assign=True)


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


WRONG = {
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
    "deletes the file": ("deleted, or written anew", deletes),
    "train()": ("leave its mode", trains),
    "eval()": ("switched to evaluation", evaluates),
    "freezes": ("requires_grad", freezes_what_it_loads),
    "assign=True": ("replaced by new ones", loading(weights=assigned)),
    "saves again": ("written anew", saves_again),
    "deletes a damaged file": ("cannot be read is deleted", deletes_what_it_cannot_read),
    "seeds everything": ("random numbers", sets_the_shared_state),
    "texts only": ("PosixPath", texts_only),
}
