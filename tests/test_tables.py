"""Tables in Markdown."""

from vae_lib.tables import Table


def test_a_table_is_markdown_with_minus_signs():
    table = Table(("Row", "ELBO"), [("a-b", "-1,450.3 ± 4.2"), (-0.5, "$x-1$"), ("-", "1e-06")])
    assert str(table) == table._repr_markdown_()
    assert str(table).splitlines() == [
        "| Row | ELBO |",
        "| --- | --- |",
        "| a-b | −1,450.3 ± 4.2 |",
        "| −0.5 | $x-1$ |",
        "| - | 1e-06 |",
    ]
