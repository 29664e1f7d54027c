'''What every check shares.

A check compares a student's function with the right formula, on small batches. Where the numbers
differ it looks for a mistake that gives exactly the student's numbers, or for two, and says which.
Where they are right it looks at the shape, the gradients, float16 and float32, tensors that are
not contiguous, the device, and whether arguments and random states were left alone.

To check a new task, say what is right, on which batches, and what can go wrong:

    from collections.abc import Callable

    import torch
    from torch import Tensor

    from mmret_lib.checks.engine.check import check
    from mmret_lib.checks.engine.seeds import seeded
    from mmret_lib.checks.engine.task import Case, Mistake, Task


    def global_pool(maps: Tensor) -> Tensor:
        """The right formula, called like the student's function."""
        return maps.mean(dim=(2, 3))


    def summed(maps: Tensor) -> Tensor:
        """A wrong answer, as a student would write it."""
        return maps.sum(dim=(2, 3))


    def maximum(maps: Tensor) -> Tensor:
        """Another one."""
        return maps.amax(dim=(2, 3))


    def maps(*shape: int) -> Tensor:
        return torch.randn(shape, generator=seeded(sum(shape)), dtype=torch.float64)


    POOL_TASK = Task(
        name="global_pool",
        right=global_pool,
        cases=[  # the plainest first, the one to follow on paper last
            Case((maps(2, 3, 4, 4),), "maps of 4 x 4"),
            Case((maps(2, 3, 5, 7),), "maps of 5 x 7", ("height and width are mixed up",)),
            Case((torch.arange(4.0).double().reshape(1, 1, 2, 2),), "one map [[0, 1], [2, 3]]"),
        ],
        mistakes=[
            Mistake("the sum is taken: the mean over height and width is wanted", summed),
            Mistake("the maximum is taken: the mean over height and width is wanted", maximum),
        ],
        remark="It makes one network fit images of every size.",
    )


    def check_global_pool(function: Callable[[Tensor], Tensor]) -> None:
        """Task 3: function(maps (B, C, H, W)) -> (B, C)."""
        check(POOL_TASK, function)

A formula of several steps takes them as keyword arguments, and a mistake replaces one step; so two
mistakes are recognised together, and several tasks share them (`task.mistakes`, and as an example
`mmret_lib.checks.triplet.hinges`). `pairs` has batches of image-text pairs and the mistakes of
every task that begins with their similarities. Arguments may be anything, and a result any nesting
of tensors, numbers, strings, lists and tuples. What a comparison of numbers cannot tell, such as
that a draw is uniform or that a training uses its learning rate, is for `Task.properties`.
A call that goes on for longer than `Task.seconds` is stopped (`limit`).

`task` has the description of a task and `check` runs it. There `probe` calls the student's function
and compares values, with the `arguments`' copies and comparisons; `gradients` and `kinds` (float16,
views, devices) test what comes after, `diagnosis` finds the mistake, and `symptoms` says what an
error, a shape or a number means. Numbers come from generators of `seeds`, so that `mmret grade` can
try a function with others.

A catalogue of wrong and right answers in `tests/answers` holds every check to its words.
'''
