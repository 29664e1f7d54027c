"""So that `python -m mmret_lib.cli` runs the command, as accelerate and torchrun call it."""

from mmret_lib.cli import main

if __name__ == "__main__":
    main()
