"""The built-in world: drawn scenes with captions, whose best possible recall is known.

`scenes` makes and loads the world (start with `load_scenes`), `captions` writes its captions,
`pictures` draws its scenes, and `german` writes the captions in German.
"""
