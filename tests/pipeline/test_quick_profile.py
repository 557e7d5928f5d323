"""What chapter 5 trains when the book is built is the library's quick profile."""

from pathlib import Path

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
