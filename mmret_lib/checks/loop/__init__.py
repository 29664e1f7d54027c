"""The formulas of exercise 07, and the mistakes that its checks know.

`rates` has the learning rate of a step. `rules` says what each parameter should get, and `groups`
holds a student's groups to it. `steps` is one step of a training with the ways to get it wrong,
`settings` has trainings to follow, `stepping` what a step is held to, and `bad_batches` what it
does where a gradient is not finite. `models` has small models and trainings. `saving` and
`loading` hold the two halves of a snapshot to what they promise; `parts` reads the file and says
which of its parts is wrong, `watching` sees what stands there while it is being written.
"""
