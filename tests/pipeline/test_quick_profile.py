"""What chapters 5 and 7 train when the book is built are the library's quick profiles."""

from pathlib import Path

from book.pipeline.__main__ import LONGEST_FIRST
from book.pipeline.chapters import chapters
from book.pipeline.layout import Layout
from book.pipeline.profiles import plan_run
from vae_lib.experiments import PROFILES, asides, table_members


def test_chapter_5_trains_the_quick_profile():
    values = plan_run(Layout(Path(__file__).parents[2]), "05_mnist", "quick").values
    quick = PROFILES["quick"]
    for name in ("num_images", "alpha", "latent_dim", "batch_size", "epochs"):
        assert values[name] == getattr(quick.setting, name), name
    assert tuple(values["hidden"]) == quick.setting.hidden
    rate, seed = values["learning_rate"], values["seed"]
    assert quick.members == table_members(seeds=[seed], learning_rate=rate) + asides(
        anneal_epochs=values["anneal_epochs"], seed=seed, learning_rate=rate
    )


def test_chapter_7_trains_the_quick_profile_of_celeba():
    values = plan_run(Layout(Path(__file__).parents[2]), "07_celeba", "quick").values
    quick = PROFILES["celeba-quick"]
    same = ("num_images", "alpha", "image_size", "latent_dim", "batch_size", "epochs")
    for name in same:
        assert values[name] == getattr(quick.setting, name), name
    for name in ("channels", "hidden"):
        assert tuple(values[name]) == getattr(quick.setting, name), name
    assert {member.learning_rate for member in quick.members} == {values["learning_rate"]}
    assert {member.seed for member in quick.members} == {values["seed"]}


def test_the_chapters_that_start_first_are_chapters():
    assert set(LONGEST_FIRST) <= set(chapters(Layout(Path(__file__).parents[2])))
