"""mmret_lib: build an image-text retrieval system step by step."""

__version__ = "0.1.0"
