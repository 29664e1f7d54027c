"""Recorded experiments, the demo, and the measuring of a trained run.

`studies` and `experiments` say which trainings (`trials`) answer which question, `searches` how the
losses' settings are chosen; `watch` and `fewer_negatives` look into a training; `measure` runs them
all and keeps their figures in data/results (`mmret experiments`).
`demo` trains the four losses and shows the
results (`mmret demo`): `demo_album` on features of photographs, `demo_world` on the drawn world.
`evening` fetches photos of COCO, keeps their features and trains on these, in one call.
`evaluate_run` measures a trained model on a split (`mmret evaluate`).
"""
