"""Formulas and likely mistakes of exercise 01: `captions`, `draws`, `orders` and `tensors`."""
