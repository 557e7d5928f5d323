"""The table of what the code costs: a missed target is a failure."""

from pathlib import Path

import pytest

from book.pipeline.chapters import chapters, code_cells, parameter_source, read_chapter
from book.pipeline.layout import Layout
from tests.bench import __main__ as bench
from tests.bench import pipeline
from tests.bench.rows import Memory, Row

MET = [Row("a", 1.0, 2.0, 0.5), Row("b", 9.0, 1.0, None), Memory("c", 4.0, 4.0), "a remark"]


@pytest.mark.parametrize("missed", [Row("d", 1.1, 2.0, 0.5), Memory("e", 4.1, 4.0)])
def test_a_row_over_its_target_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missed: Row | Memory
) -> None:
    monkeypatch.setattr(bench, "table", lambda: iter(MET))
    assert bench.main([]) == 0
    assert "over" not in capsys.readouterr().out
    monkeypatch.setattr(bench, "table", lambda: iter([missed, *MET, missed]))
    assert bench.main([]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("  over\n") == 2  # the rows that follow are measured all the same
    assert printed.out.count("  ok\n") == 2
    assert "2 of the rows are over their targets" in printed.err


def test_chapters_without_code_keep_their_cells_and_parameters(tmp_path: Path) -> None:
    real, copied = Layout(pipeline.REPOSITORY), Layout(tmp_path / "copy")
    pipeline.copy_sources(real.root, copied.root)
    for name, source in chapters(real).items():
        pipeline.without_code(copied, name)
        before, after = read_chapter(source), read_chapter(chapters(copied)[name])
        assert len(code_cells(after)) == len(code_cells(before))
        assert parameter_source(after, name) == parameter_source(before, name)
        rest = {cell.source for cell in code_cells(after)} - {parameter_source(after, name)}
        assert rest == {"pass"}


def test_without_a_built_book_there_is_a_remark(tmp_path: Path) -> None:
    root = tmp_path / "sources"
    pipeline.copy_sources(pipeline.REPOSITORY, root)
    assert "not built, or not current" in str(pipeline.row(root))
