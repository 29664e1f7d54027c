"""Trainings that end before they are done: for the tests of resuming, identities and snapshots."""

import pytest

from mmret_lib.training import TrainConfig, Trainer, build_loss, build_model

CONFIG = TrainConfig(epochs=2, batch_size=16, device="cpu", validate=False, snapshot_minutes=0)


class Lost(Exception):
    """The session ends here."""


def trainer(world, folder=None, loss="simclr", config=CONFIG, **options):
    model = build_model(loss, world.pairs, image_weights=None, text_weights=None, seed=0)
    settings = {"all_negatives_steps": 3} if loss == "max_triplet" else {}
    settings |= {"learnable": True}
    return Trainer(
        model, build_loss(loss, **settings), world, config, folder=folder, progress=False, **options
    )


def before_each_step(trainer, act):
    """Call `act` with the number of steps that this trainer has done, before each step."""
    step, done = trainer.train_step, []

    def acting(batch):
        act(len(done))
        done.append(1)
        return step(batch)

    trainer.train_step = acting


def lose_after(trainer, steps):
    """Let the session end after so many more steps."""

    def act(done):
        if done == steps:
            raise Lost

    before_each_step(trainer, act)


def fit_and_lose(trainer, steps, resume=False):
    lose_after(trainer, steps)
    with pytest.raises(Lost):
        trainer.fit(resume=resume)


def weights(trainer):
    return {**trainer.model.state_dict(), **trainer.loss.state_dict()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.equal(other[name]), name
