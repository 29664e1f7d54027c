"""The formulas of exercise 09, and the ways to get them wrong.

`hubs` counts how often an answer is found, `gaps` has the distance of the two branches, `planes`
the drawing in two dimensions, `truths` which captions are true of which pictures, and `scenes` the
pictures and captions for that.
"""
