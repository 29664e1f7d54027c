"""The built-in world: drawn scenes with captions, whose best possible recall is known.

`scenes` makes and loads the world (start with `load_scenes`), `captions` puts its facts into words,
`pictures` draws them, and `german` says the same in another language.
"""
