"""Answers to tasks 3 and 4 of exercise 01: padding, and colours."""

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as transforms

# ---------------------------------------------------------------------------------------------
# Task 3


def filled_in(token_lists, pad_id):
    longest = max(len(row) for row in token_lists)
    ids = torch.full((len(token_lists), longest), pad_id)
    mask = torch.zeros(len(token_lists), longest, dtype=torch.bool)
    for b, row in enumerate(token_lists):
        ids[b, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[b, : len(row)] = True
    return ids, mask


def by_lists(token_lists, pad_id):
    longest = max(map(len, token_lists))
    ids = [row + [pad_id] * (longest - len(row)) for row in token_lists]
    mask = [[True] * len(row) + [False] * (longest - len(row)) for row in token_lists]
    return torch.tensor(ids, dtype=torch.int64), torch.tensor(mask, dtype=torch.bool)


def by_rnn(token_lists, pad_id):
    rows = [torch.tensor(row, dtype=torch.int64) for row in token_lists]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(row) for row in token_lists])
    return ids, torch.arange(ids.shape[1])[None, :] < lengths[:, None]


def by_f_pad(token_lists, pad_id):
    longest = max(len(row) for row in token_lists)
    rows = [torch.LongTensor(row) for row in token_lists]
    ids = torch.stack([F.pad(row, (0, longest - len(row)), value=pad_id) for row in rows])
    mask = torch.stack([F.pad(torch.ones_like(r), (0, longest - len(r))) for r in rows])
    return ids, mask == 1


def by_numpy(token_lists, pad_id):
    shape = len(token_lists), max(map(len, token_lists))
    mask = np.zeros(shape, dtype=bool)
    for row, tokens in zip(mask, token_lists, strict=True):
        row[: len(tokens)] = True
    ids = np.full(shape, pad_id, dtype=np.int64)
    ids[mask] = [token for row in token_lists for token in row]
    return torch.from_numpy(ids), torch.from_numpy(mask)


RIGHT_PADS = [filled_in, by_lists, by_rnn, by_f_pad, by_numpy]


def mask_by_value(token_lists, pad_id):
    ids, _ = filled_in(token_lists, pad_id)
    return ids, ids != pad_id


def mask_by_zero(token_lists, pad_id):
    ids, _ = filled_in(token_lists, pad_id)
    return ids, ids > 0


def filled_with_zero(token_lists, pad_id):
    return filled_in(token_lists, 0)


def to_the_left(token_lists, pad_id):
    longest = max(map(len, token_lists))
    ids = torch.tensor([[pad_id] * (longest - len(r)) + r for r in token_lists], dtype=torch.int64)
    mask = [[False] * (longest - len(row)) + [True] * len(row) for row in token_lists]
    return ids, torch.tensor(mask, dtype=torch.bool)


def ids_to_the_left(token_lists, pad_id):
    return to_the_left(token_lists, pad_id)[0], filled_in(token_lists, pad_id)[1]


def in_place(token_lists, pad_id):
    longest = max(map(len, token_lists))
    lengths = torch.tensor([len(row) for row in token_lists])
    for row in token_lists:
        while len(row) < longest:
            row.append(pad_id)
    ids = torch.tensor(token_lists, dtype=torch.int64)
    return ids, torch.arange(longest) < lengths[:, None]


def lengths_after_filling(token_lists, pad_id):
    longest = max(map(len, token_lists))
    rows = [row + [pad_id] * (longest - len(row)) for row in token_lists]
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.tensor(rows, dtype=torch.int64)
    return ids, torch.arange(longest) < lengths[:, None]


def to_64(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    more = 64 - ids.shape[1]
    return F.pad(ids, (0, more), value=pad_id), F.pad(mask, (0, more))


def to_the_first(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return ids[:, : len(token_lists[0])], mask[:, : len(token_lists[0])]


def to_the_shortest(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    shortest = min(map(len, token_lists))
    return ids[:, :shortest], mask[:, :shortest]


def off_by_one(token_lists, pad_id):
    ids, _ = filled_in(token_lists, pad_id)
    lengths = torch.tensor([len(row) for row in token_lists])
    return ids, torch.arange(ids.shape[1]) <= lengths[:, None]


def turned(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return ids.T, mask.T


def inverted(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return ids, ~mask


def all_true(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return ids, torch.ones_like(mask)


def mask_in_int64(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return ids, mask.long()


def mask_in_floats(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return ids, mask.float()


def ids_in_floats(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return ids.float(), mask


def ids_in_int32(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return ids.int(), mask


def filled_with_the_last(token_lists, pad_id):
    longest = max(map(len, token_lists))
    rows = [row + (row[-1:] or [pad_id]) * (longest - len(row)) for row in token_lists]
    return torch.tensor(rows, dtype=torch.int64), filled_in(token_lists, pad_id)[1]


def sorted_by_length(token_lists, pad_id):
    return filled_in(sorted(token_lists, key=len, reverse=True), pad_id)


def exchanged(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return mask, ids


def without_a_dtype(token_lists, pad_id):
    ids, mask = by_lists(token_lists, pad_id)
    return torch.tensor(ids.tolist()), torch.tensor(mask.tolist())


def fixed_batch(token_lists, pad_id):
    ids, mask = filled_in(token_lists, pad_id)
    return ids[:3], mask[:3]


WRONG_PADS = {
    "mask by value": ("lengths", mask_by_value),
    "mask by zero": ("lengths", mask_by_zero),
    "filled with 0": ("pad_id", filled_with_zero),
    "to the left": ("before the tokens", to_the_left),
    "ids to the left": ("before the tokens", ids_to_the_left),
    "in place": ("in place", in_place),
    "lengths after filling": ("True everywhere", lengths_after_filling),
    "to 64": ("longest", to_64),
    "to the first": ("first list", to_the_first),
    "to the shortest": ("shortest", to_the_shortest),
    "off by one": ("too long", off_by_one),
    "turned": ("transposed", turned),
    "inverted": ("wrong way round", inverted),
    "all True": ("True everywhere", all_true),
    "mask in int64": ("bool", mask_in_int64),
    "mask in floats": ("bool", mask_in_floats),
    "ids in floats": ("int64", ids_in_floats),
    "ids in int32": ("int64", ids_in_int32),
    "filled with the last": ("last token", filled_with_the_last),
    "sorted by length": ("order", sorted_by_length),
    "exchanged": ("exchanged", exchanged),
    "without a dtype": ("int64", without_a_dtype),
    "first three alone": ("(4, 3)", fixed_batch),
    "ids alone": ("2", lambda lists, pad_id: filled_in(lists, pad_id)[0]),
    "lists": ("list", lambda lists, pad_id: [x.tolist() for x in filled_in(lists, pad_id)]),
    "nothing": ("nothing is returned", lambda lists, pad_id: None),
}

# ---------------------------------------------------------------------------------------------
# Task 4


def column(colours, images):
    return torch.tensor(colours, dtype=torch.float32, device=images.device)[:, None, None]


def plainly(images_uint8, mean, std):
    images = images_uint8.float() / 255
    return (images - column(mean, images)) / column(std, images)


def by_torchvision(images_uint8, mean, std):
    images = transforms.to_dtype(images_uint8, torch.float32, scale=True)
    return transforms.normalize(images, list(mean), list(std))


def colour_by_colour(images_uint8, mean, std):
    channels = [(images_uint8[:, c].to(torch.float32) / 255 - mean[c]) / std[c] for c in range(3)]
    return torch.stack(channels, dim=1)


def in_one_step(images_uint8, mean, std):
    factor = 1 / (255 * column(std, images_uint8))
    return images_uint8 * factor - column(mean, images_uint8) / column(std, images_uint8)


def colours_last(images_uint8, mean, std):
    images = images_uint8.permute(0, 2, 3, 1) / 255
    images = (images - images.new_tensor(mean)) / images.new_tensor(std)
    return images.permute(0, 3, 1, 2)


RIGHT_NORMALS = [plainly, by_torchvision, colour_by_colour, in_one_step, colours_last]


def with_steps(scale=lambda i: i.float() / 255, shape=column):
    return lambda i, mean, std: (scale(i) - shape(mean, i)) / shape(std, i)


def on_cpu(images_uint8, mean, std):
    mean, std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
    return (images_uint8.float() / 255 - mean) / std


def by_numpy(images_uint8, mean, std):
    images = images_uint8.numpy().astype(np.float32) / 255
    return (images - np.array(mean).reshape(3, 1, 1)) / np.array(std).reshape(3, 1, 1)


def back_from_numpy(images_uint8, mean, std):
    return torch.from_numpy(by_numpy(images_uint8, mean, std))


def in_bytes(images_uint8, mean, std):
    shift = (255 * column(mean, images_uint8)).to(torch.uint8)
    return (images_uint8 - shift).float() / 255 / column(std, images_uint8)


def subtracted_late(images_uint8, mean, std):
    images = images_uint8.float() / 255
    return images / column(std, images) - column(mean, images)


def batch_statistics(images_uint8, mean, std):
    images = images_uint8.float() / 255
    m, s = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    return (images - m) / s


def image_statistics(images_uint8, mean, std):
    images = images_uint8.float() / 255
    return (images - images.mean((2, 3), True)) / (images.std((2, 3), keepdim=True) + 1e-5)


def scaled_when_bright(images_uint8, mean, std):
    images = images_uint8.float()
    images = images / 255 if images.max() > 1 and images.min() > 3 else images
    return (images - column(mean, images)) / column(std, images)


def truncated(images_uint8, mean, std):
    return plainly(images_uint8, mean, std).int().float()


def epsilon(images_uint8, mean, std):
    images = images_uint8.float() / 255
    return (images - column(mean, images)) / (column(std, images) + 1e-3)


def row(colours, images):
    return torch.tensor(colours, dtype=torch.float32, device=images.device)


def rows_by_height(colours, images):
    return row(colours, images)[:, None]


def for_batches(colours, images):
    return row(colours, images)[:, None, None, None]


def imagenet(images_uint8, mean, std):
    return plainly(images_uint8, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def bgr(images_uint8, mean, std):
    return plainly(images_uint8.flip(1), mean, std)


WRONG_NORMALS = {
    "not scaled": ("not scaled", with_steps(scale=lambda i: i.float())),
    "by 256": ("256", with_steps(scale=lambda i: i.float() / 256)),
    "-1 to 1": ("-1..1", with_steps(scale=lambda i: i.float() / 127.5 - 1)),
    "whole division": ("without remainder", with_steps(scale=lambda i: (i // 255).float())),
    "along the width": ("(3, 1, 1)", with_steps(shape=row)),
    "along the height": ("(3, 1, 1)", with_steps(shape=rows_by_height)),
    "along the batch": ("(3, 1, 1)", with_steps(shape=for_batches)),
    "in bytes": ("bytes", in_bytes),
    "std multiplied": (
        "multiplied",
        lambda i, m, s: (i.float() / 255 - column(m, i)) * column(s, i),
    ),
    "std forgotten": ("not divided", lambda i, m, s: i.float() / 255 - column(m, i)),
    "mean forgotten": ("mean is not subtracted", lambda i, m, s: i.float() / 255 / column(s, i)),
    "mean added": ("added", lambda i, m, s: (i.float() / 255 + column(m, i)) / column(s, i)),
    "mean minus images": ("sign", lambda i, m, s: -plainly(i, m, s)),
    "variance": ("square", lambda i, m, s: plainly(i, m, [x**2 for x in s])),
    "subtracted late": ("first subtract", subtracted_late),
    "batch statistics": ("own mean", batch_statistics),
    "image statistics": ("not finite", image_statistics),
    "ImageNet": ("ImageNet", imagenet),
    "blue first": ("reversed", bgr),
    "mean and std exchanged": ("exchanged", lambda i, m, s: plainly(i, s, m)),
    "one mean": ("all colours", lambda i, m, s: plainly(i, [sum(m) / 3] * 3, [sum(s) / 3] * 3)),
    "first mean": ("all colours", lambda i, m, s: plainly(i, [m[0]] * 3, [s[0]] * 3)),
    "cut off": ("cut off", lambda i, m, s: plainly(i, m, s).clamp(0, 1)),
    "colours last": ("(B, 3, H, W)", lambda i, m, s: plainly(i, m, s).permute(0, 2, 3, 1)),
    "height and width": ("(B, 3, H, W)", lambda i, m, s: plainly(i, m, s).transpose(2, 3)),
    "scaled when bright": ("not scaled", scaled_when_bright),
    "by the batch's largest": ("largest of the batch", with_steps(scale=lambda i: i / i.max())),
    "stretched": (
        "stretched",
        with_steps(scale=lambda i: (i.float() - i.min()) / (i.max() - i.min())),
    ),
    "scaled late": (
        "scale first",
        lambda i, m, s: (i.float() - column(m, i)) / column(s, i) / 255,
    ),
    "mean times 255": (
        "std is not",
        lambda i, m, s: (i.float() - 255 * column(m, i)) / column(s, i),
    ),
    "first std": ("first colour's std", lambda i, m, s: plainly(i, m, [s[0]] * 3)),
    "stacked in front": (
        "dim=1",
        lambda i, m, s: torch.stack([(i[:, c] / 255 - m[c]) / s[c] for c in range(3)]),
    ),
    "truncated": ("wrong", truncated),
    "epsilon": ("epsilon", epsilon),
    "float64": ("float", lambda i, m, s: plainly(i, m, s).double()),
    "half": ("float", lambda i, m, s: plainly(i, m, s).half()),
    "numpy": ("numpy", by_numpy),
    "numpy and back": ("float", back_from_numpy),
    "on the CPU": ("device", on_cpu),
    "first picture": ("shape (3, 3, 3)", lambda i, m, s: plainly(i, m, s)[0]),
    "nothing": ("nothing is returned", lambda i, m, s: None),
}
