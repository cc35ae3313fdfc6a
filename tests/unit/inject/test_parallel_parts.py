"""The driver's parts without processes: what is split, given out and written down, and what a table's pieces are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from smalt.agent.inject.parallel.coordinator import Coordinator
from smalt.agent.inject.parallel.ledger import Ledger, Record
from smalt.agent.inject.parallel.meeting import Desk
from smalt.agent.inject.parallel.results import NoResult, rows_of
from smalt.agent.inject.parallel.settings import Settings, options
from smalt.agent.inject.parallel.splitting import NothingToDo, mark, placed, split
from smalt.agent.inject.parallel.table import files_of, frame, values_of
from smalt.agent.inject.parallel.words import in_a_line

CSV: dict[str, Any] = {"kind": "delimited", "header": "all_files_same_headers"}


def settings(**more: Any) -> Settings:
    return Settings.of({"script": "s.py", "input": "in", "logs": "logs", **more})


def table(folder: Path, reader: dict[str, Any] | None, at: str = "*.csv", **more: Any) -> dict[str, Any]:
    paths = [{"root": str(folder), "kind": "pattern", "at": at}]
    return {"paths": paths, "reader": reader, "steps": [], "format": "", **more}


def read(said: dict[str, Any], **more: Any) -> list[Any]:
    """The DataFrames of all mini-batches of a table."""
    of = settings(table=said, **more)
    return [frame(said, placed(of, one)["parts"]) for one in split(of)]


def coordinator(folder: Path, count: int = 4, **more: Any) -> tuple[Coordinator, Ledger]:
    batches = [{"files": [f"f{at}"], "items": 1} for at in range(count)]
    ledger = Ledger(folder, "mark")
    return Coordinator(settings(**more), batches, ledger), ledger


def numbers(given: Sequence[Any]) -> list[int]:
    return [one.number for one in given]


def test_each_mini_batch_is_given_to_one_alone_and_counted_once(tmp_path: Path) -> None:
    desk, ledger = coordinator(tmp_path)
    assert numbers(desk.pull("a", 2)) == [0, 1]
    assert numbers(desk.pull("b", 9)) == [2, 3]
    assert desk.pull("a") == []
    desk.done("b", Record(0, 1), b"of another\n")
    assert not ledger.records, "b never had it"
    for node, number in (("a", 0), ("a", 0), ("a", 1), ("b", 2), ("b", 3)):
        desk.done(node, Record(number, 1), b"%d\n" % number)
    assert desk.is_over and not desk.problem
    assert b"".join(ledger.rows()) == b"0\n1\n2\n3\n"


def test_a_mini_batch_is_tried_again_until_its_retries_are_over(tmp_path: Path) -> None:
    desk, ledger = coordinator(tmp_path, count=1, retries=2)
    for tried in range(3):
        (given,) = desk.pull("a")
        assert given.tried == tried
        assert desk.failed("a", Record(0, 1, 1, error="boom")) is (tried == 2)
    assert desk.is_over and not desk.problem, "any number may fail"
    assert ledger.records[0].error == "boom" and ledger.records[0].tries == 3
    assert desk.failed_items == 1


def test_what_was_not_begun_goes_back_without_a_try_and_is_next(tmp_path: Path) -> None:
    desk, _ = coordinator(tmp_path, retries=0)
    desk.pull("a", 3)
    desk.back("a", 1)
    assert [(one.number, one.tried) for one in desk.pull("b", 1)] == [(1, 0)]


def test_what_a_node_had_that_is_gone_others_get(tmp_path: Path) -> None:
    desk, ledger = coordinator(tmp_path)
    desk.pull("a", 2)
    desk.done("a", Record(0, 1))
    desk.gone("a")
    desk.done("a", Record(1, 1), b"too late")
    assert list(ledger.records) == [0]
    assert numbers(desk.pull("b", 9)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("more", "failures", "said"),
    [
        ({"batch_errors": 1}, 2, "mini_batch_error_threshold"),
        ({"item_errors": 1}, 2, "error_threshold"),
        ({"failed_percent": 25}, 2, "allowed_failed_percent"),
        ({"batch_errors": 0}, 1, "mini_batch_error_threshold"),
    ],
)
def test_a_threshold_ends_the_job_when_more_fails_than_it_allows(
    tmp_path: Path, more: dict[str, Any], failures: int, said: str
) -> None:
    desk, _ = coordinator(tmp_path, retries=0, **more)
    for at in range(failures):
        assert not desk.is_over, at
        (given,) = desk.pull("a")
        desk.failed("a", Record(given.number, 1, 1, error="boom"))
    assert said in desk.problem and desk.problem.endswith("boom"), "what went wrong, too"
    assert desk.pull("a") == []


def test_a_long_error_keeps_its_end_in_which_the_cause_is() -> None:
    said = in_a_line("Failed to enforce\n" + "7 8 9\n" * 500 + "Can not safely convert int64 to float64.", most=100)
    assert said.startswith("Failed to enforce 7 8") and said.endswith("int64 to float64.") and len(said) < 110
    assert in_a_line("so\n  it  is") == "so it is"


def test_items_that_are_missing_in_a_result_count_as_failed(tmp_path: Path) -> None:
    desk, _ = coordinator(tmp_path, item_errors=2)
    desk.pull("a", 2)
    desk.done("a", Record(0, 5, failed=2))
    assert not desk.problem
    desk.done("a", Record(1, 5, failed=1))
    assert "3 items failed" in desk.problem and "fewer rows than it was given items" in desk.problem


def test_the_job_fails_when_no_node_has_a_worker_that_starts(tmp_path: Path) -> None:
    desk, _ = coordinator(tmp_path, nodes=2)
    desk.stuck("a", "no module named x")
    assert not desk.is_over
    desk.stuck("b", "no module named x")
    assert "no module named x" in desk.problem


def test_a_job_without_progress_ends_where_that_was_asked(tmp_path: Path) -> None:
    desk, _ = coordinator(tmp_path, arguments=["--progress_update_timeout", "30"])
    desk.pull("a")
    desk.idle(desk.heard_at + 29)
    assert not desk.is_over
    desk.idle(desk.heard_at + 31)
    assert "progress_update_timeout" in desk.problem


def test_a_ledger_that_cannot_be_written_fails_the_job_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, ledger = coordinator(tmp_path)
    desk.pull("a", 2)
    desk.done("a", Record(0, 1), b"0\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger, "add", full)
    desk.done("a", Record(1, 1), b"1\n")
    assert desk.is_over and "cannot be written down" in desk.problem and "No space left" in desk.problem
    assert list(ledger.records) == [0] and desk.pull("b") == []


def test_logs_that_cannot_be_written_fail_the_job_in_words(tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def said() -> str:
        desk = Desk(coordinator(tmp_path)[0], full)
        desk.link("node-0").say("node-0/process000", "boom", "trace")
        return await asyncio.wait_for(desk.over(), 10)

    assert "logs cannot be written" in asyncio.run(said())


def test_a_job_goes_on_with_what_is_left(tmp_path: Path) -> None:
    desk, ledger = coordinator(tmp_path, retries=0)
    desk.pull("a", 3)
    desk.done("a", Record(1, 1), b"one\n")
    desk.failed("a", Record(2, 1, 1, error="boom"))
    ledger.close()
    desk, ledger = coordinator(tmp_path, retries=0)
    assert (desk.resumed, desk.failed_batches) == (2, 1)
    assert numbers(desk.pull("a", 9)) == [0, 3]
    desk.done("a", Record(0, 1), b"zero\n")
    desk.done("a", Record(3, 1), b"three\n")
    assert b"".join(ledger.rows()) == b"zero\none\nthree\n"


def test_a_torn_record_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    first = Ledger(tmp_path, "mark")
    first.add(Record(0, 1), b"a\n")
    whole = (tmp_path / "000000.records").stat().st_size
    first.add(Record(1, 1), b"bbbbbb\n")
    first.close()
    path = tmp_path / "000000.records"
    for size in range(whole, path.stat().st_size):
        path.write_bytes(path.read_bytes()[:size] if size == whole else _cut(tmp_path, size))
        assert list(Ledger(tmp_path, "mark").records) == [0], size
        for other in sorted(tmp_path.glob("*.records"))[1:]:
            other.unlink()


def _cut(folder: Path, size: int) -> bytes:
    """A ledger of the same two records, cut there."""
    other = folder / "other"
    made = Ledger(other, "mark")
    made.add(Record(0, 1), b"a\n")
    made.add(Record(1, 1), b"bbbbbb\n")
    made.close()
    data = (other / "000000.records").read_bytes()
    (other / "000000.records").unlink()
    return data[:size]


def test_the_ledger_of_another_split_is_not_read(tmp_path: Path) -> None:
    Ledger(tmp_path, "before").add(Record(0, 1), b"a\n")
    fresh = Ledger(tmp_path, "now")
    assert not fresh.records
    fresh.add(Record(0, 1), b"b\n")
    assert list(Ledger(tmp_path, "now").records) == [0]


def test_a_names_line_comes_once_and_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "mark")
    ledger.add(Record(1, 1), b"2\n", b"x\n")
    ledger.add(Record(0, 1), b"1\n", b"x\n")
    ledger.close()
    assert b"".join(Ledger(tmp_path, "mark").rows()) == b"x\n1\n2\n"


def test_files_are_split_by_number(tmp_path: Path) -> None:
    for at in range(7):
        (tmp_path / f"f{at}").write_text("x")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "f9").write_text("x")
    batches = split(settings(input=str(tmp_path), size=3))
    assert [one["items"] for one in batches] == [3, 3, 2]
    assert sorted(file for one in batches for file in one["files"]) == ["0:below/f9", *(f"0:f{at}" for at in range(7))]
    of = settings(input="/another/node")
    assert placed(of, batches[0])["files"][0] == "/another/node/below/f9"
    assert len(split(settings(input=str(tmp_path)))) == 1, "ten files by default"
    assert mark(batches) == mark(split(settings(input=str(tmp_path), size=3)))


def test_nothing_to_split_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo, match="no files"):
        split(settings(input=str(tmp_path)))
    with pytest.raises(NothingToDo, match="nothing is at"):
        split(settings(input=str(tmp_path / "gone")))


def test_a_table_is_cut_at_ends_of_lines_and_every_row_is_in_one_piece(tmp_path: Path) -> None:
    for name, rows in (("a", 100), ("b", 3), ("empty", 0)):
        lines = "".join(f"{name}{at},{'y' * (at % 17)}\n" for at in range(rows))
        (tmp_path / f"{name}.csv").write_text("id,text\n" + lines)
    said = table(tmp_path, CSV)
    for size in (1, 40, 200, 10_000):
        found = read(said, size=size)
        assert [list(one.columns) for one in found] == [["id", "text"]] * len(found)
        ids = [value for one in found for value in one["id"]]
        assert ids == [*(f"a{at}" for at in range(100)), *(f"b{at}" for at in range(3))], size
    assert len(split(settings(table=said, size=200))) > 5


@pytest.mark.parametrize(
    ("reader", "columns"),
    [
        ({"kind": "delimited", "header": "no_header", "delimiter": "\t"}, ["Column1", "Column2"]),
        ({"kind": "delimited", "header": "from_first_file", "delimiter": "\t"}, ["x", "y"]),
    ],
)
def test_headers(tmp_path: Path, reader: dict[str, Any], columns: list[str]) -> None:
    first = "x\ty\n" if reader["header"] == "from_first_file" else ""
    (tmp_path / "a.csv").write_text(f"{first}1\t2\n3\t4")
    (tmp_path / "b.csv").write_text("5\t6\n")
    said = table(tmp_path, reader)
    for size in (4, 1 << 20):
        found = read(said, size=size)
        assert {tuple(one.columns) for one in found} == {tuple(columns)}
        assert [row for one in found for row in one.values.tolist()] == [[1, 2], [3, 4], [5, 6]]


def test_json_lines_and_parquet(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rows = pandas.DataFrame({"id": range(50), "text": [f"t{at}" for at in range(50)]})
    rows.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    said = table(tmp_path, {"kind": "json_lines"}, "*.jsonl")
    found = read(said, size=300)
    assert len(found) > 2
    assert [value for one in found for value in one["id"]] == list(range(50))
    parquet = pytest.importorskip("pyarrow.parquet")
    rows.to_parquet(tmp_path / "a.parquet", row_group_size=10)
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 5
    said = table(tmp_path, {"kind": "parquet"}, "*.parquet")
    found = read(said, size=1)
    assert [value for one in found for value in one["id"]] == list(range(50))
    assert len(found) == 5


def test_partition_keys_put_what_has_the_same_values_together(tmp_path: Path) -> None:
    format_ = "{Store}/{Brand}/{file_name}.{extension}"
    for store in ("1001", "1002"):
        for brand in ("tropicana", "dominicks"):
            for part in ("p0", "p1"):
                place = tmp_path / store / brand / f"{part}.csv"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(f"q\n{store}\n")
    steps = [["extract_columns_from_partition_format", format_], ["drop_columns", ["file_name", "extension", "Path"]]]
    said = table(tmp_path, {**CSV, "include_path_column": True}, "**/*.csv", steps=steps, format=format_)
    batches = split(settings(table=said, keys=["Store"]))
    assert [one["keys"] for one in batches] == [{"Store": "1001"}, {"Store": "1002"}]
    (first, _) = read(said, keys=["Store"])
    assert list(first.columns) == ["Store", "Brand", "q"] and len(first) == 4
    assert len(split(settings(table=said, keys=["Store", "Brand"]))) == 4
    of_files = split(settings(table={**said, "reader": None}, keys=["Store", "Brand"]))
    assert [one["items"] for one in of_files] == [2, 2, 2, 2]


def test_values_in_paths() -> None:
    assert values_of("/{Department}/{Date:yyyy/MM/dd}/data.csv", "/x/Sales/2019/01/02/data.csv") == {
        "Department": "Sales",
        "Date": "2019/01/02",
    }
    with pytest.raises(ValueError, match="partition format"):
        values_of("{a}/{b}.csv", "/x/y.txt")


def test_a_table_names_files_folders_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("MLTable", "a.png", "d/b.png", "d/c.txt"):
        (tmp_path / name).write_text("x")

    def found(kind: str, at: str) -> list[str]:
        return [
            str(Path(one).relative_to(tmp_path)) for one in files_of([{"root": str(tmp_path), "kind": kind, "at": at}])
        ]

    assert found("pattern", "**/*.png") == ["a.png", "d/b.png"]
    assert found("folder", "") == ["a.png", "d/b.png", "d/c.txt"]
    assert found("file", "d/c.txt") == ["d/c.txt"]
    with pytest.raises(FileNotFoundError, match="gone"):
        found("file", "gone.png")


def test_results_become_rows() -> None:
    pandas = pytest.importorskip("pandas")
    assert rows_of(["a 1", 2], True).text == b"a 1\n2\n"
    assert rows_of(("a",), False) == rows_of(["b"], False), "only counted"
    found = rows_of(pandas.DataFrame({"x": [1, 2], "y": ["a", "b c"]}), True, header=True)
    assert (found.count, found.text, found.header) == (2, b'1 a\n2 "b c"\n', b"x y\n")
    assert rows_of([], True).count == 0
    for none in (None, "text", 3, {"a": 1}):
        with pytest.raises(NoResult):
            rows_of(none, True)


def test_more_rows_than_a_message_takes_are_no_result() -> None:
    assert rows_of(["é" * 3], written=True, most=7).text == "ééé\n".encode()
    with pytest.raises(NoResult, match="7 bytes of rows, more than 6; use a smaller mini_batch_size"):
        rows_of(["é" * 3], written=True, most=6)
    assert rows_of(["é" * 3], written=False, most=6).count == 1


def test_options_among_the_arguments() -> None:
    arguments = ["--model", "m", "--error_threshold", "-1", "--flag", "--allowed_failed_percent=30", "x"]
    assert options(arguments) == {"model": "m", "error_threshold": "-1", "allowed_failed_percent": "30"}
    said = settings(arguments=[*arguments, "--append_row_dataframe_header", "True"], item_errors=5)
    assert (said.item_errors, said.failed_percent, said.header) == (-1, 30, True)
    assert json.loads(json.dumps(said.arguments)) == [*arguments, "--append_row_dataframe_header", "True"]
