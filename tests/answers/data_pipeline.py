"""The answers to exercise 01."""

from answers import data_pipeline_captions as captions
from answers import data_pipeline_draws as draws
from answers import data_pipeline_tensors as tensors
from mmret_lib.checks import data_pipeline

CHECKS = {
    "read_captions": data_pipeline.check_read_captions,
    "one_caption_each": data_pipeline.check_one_caption_each,
    "pad": data_pipeline.check_pad,
    "normalise": data_pipeline.check_normalise,
    "batches": data_pipeline.check_batches,
}
RIGHT = {
    "read_captions": captions.RIGHT,
    "one_caption_each": draws.RIGHT_DRAWS,
    "pad": tensors.RIGHT_PADS,
    "normalise": tensors.RIGHT_NORMALS,
    "batches": draws.RIGHT_BATCHES,
}
WRONG = {
    "read_captions": captions.WRONG,
    "one_caption_each": draws.WRONG_DRAWS,
    "pad": tensors.WRONG_PADS,
    "normalise": tensors.WRONG_NORMALS,
    "batches": draws.WRONG_BATCHES,
}
EQUIVALENT = {
    "one_caption_each": {"0 -> -1 in `counts.cumsum(0)`": "counts have one axis"},
    "pad": {"without int in `int(lengths.max())`": "a tensor of one whole number serves as well"},
    "batches": {"1 -> 2 in `epoch + 1`": "every epoch takes the order of the next one"},
}
