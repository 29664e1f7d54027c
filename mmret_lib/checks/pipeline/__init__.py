"""The formulas of exercise 01, and the ways to get them wrong.

`captions` has the bookkeeping of images and captions, and `reading` how the file is gone through;
`draws` and `orders` are the random tasks, `padding` and `normalising` make tensors.
`counted` tells how many values a bootstrap draws, and how often (exercises 08 and 10).
"""
