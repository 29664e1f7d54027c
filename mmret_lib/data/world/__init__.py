"""The built-in world: drawn scenes with captions, whose best possible recall is known."""
