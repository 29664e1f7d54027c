"""What exercise 13 adds to a training and to a model, and the ways to get it wrong.

`temperatures` is a temperature that an optimiser may move, `views` the loss of two views of one
branch, `naming` the classes that a picture is named by.
"""
