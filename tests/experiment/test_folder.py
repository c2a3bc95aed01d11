from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fewtune.errors import DataError, OccupiedError, UsageError
from fewtune.experiment.folder import held, is_held
from fewtune.experiment.settings import RunSettings
from standin.holding_process import hold
from standin.processes import forkserver

SETTINGS = RunSettings(data="episodes.csv", epochs=(1, 2))
DATA, CHANGED = "a" * 64, "b" * 64
RUN = SETTINGS.run_id(DATA)


def content(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run that was begun and left."""
    with held(tmp_path / "run", RUN, SETTINGS, DATA):
        pass
    return tmp_path / "run"


class TestTaking:
    def test_a_new_folder_is_made_and_says_whose_it_is(self, tmp_path: Path) -> None:
        with held(tmp_path / "deep" / "run", RUN, SETTINGS, DATA):
            card = json.loads((tmp_path / "deep" / "run" / "run.json").read_text())
        assert (card["id"], card["data_sha256"]) == (RUN, DATA)
        assert RunSettings.from_json(card["settings"]) == SETTINGS

    def test_an_empty_folder_may_be_taken(self, tmp_path: Path) -> None:
        with held(tmp_path, RUN, SETTINGS, DATA):
            assert (tmp_path / "run.json").exists()

    def test_its_own_run_may_take_it_again_with_all_that_is_in_it(self, folder: Path) -> None:
        (folder / "report.html").write_text("report")
        with held(folder, RUN, SETTINGS, DATA):
            assert (folder / "report.html").read_text() == "report"

    @pytest.mark.parametrize("name", ["run.lock", "run.json.partial"])
    def test_a_run_killed_before_it_wrote_down_its_name_may_be_begun_again(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("{")
        with held(tmp_path, RUN, SETTINGS, DATA):
            assert json.loads((tmp_path / "run.json").read_text())["id"] == RUN

    def test_it_is_free_again_after_an_error(self, folder: Path) -> None:
        with pytest.raises(ZeroDivisionError), held(folder, RUN, SETTINGS, DATA):
            raise ZeroDivisionError
        with held(folder, RUN, SETTINGS, DATA):
            pass


class TestRefusing:
    def test_a_second_process_is_kept_out_while_the_first_is_at_work(self, folder: Path) -> None:
        context = forkserver()
        ready, done = context.Event(), context.Event()
        process = context.Process(target=hold, args=(folder, SETTINGS, DATA, ready, done))
        process.start()
        try:
            assert ready.wait(60) and is_held(folder)
            with (
                pytest.raises(OccupiedError, match=r"Another process.*--out") as caught,
                held(folder, RUN, SETTINGS, DATA),
            ):
                pass
        finally:
            done.set()
            process.join()
        assert caught.value.exit_code == 2
        assert not is_held(folder)
        with held(folder, RUN, SETTINGS, DATA):
            assert is_held(folder)

    def test_a_killed_process_holds_nothing(self, folder: Path) -> None:
        context = forkserver()
        ready, done = context.Event(), context.Event()
        process = context.Process(target=hold, args=(folder, SETTINGS, DATA, ready, done))
        process.start()
        assert ready.wait(60)
        process.kill()
        process.join()
        assert not is_held(folder)
        with held(folder, RUN, SETTINGS, DATA):
            pass

    def test_files_that_are_no_runs_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.doc").write_text("years of work")
        before = content(tmp_path)
        with (
            pytest.raises(OccupiedError, match=r"not empty \(thesis\.doc.*no run.*--out"),
            held(tmp_path, RUN, SETTINGS, DATA),
        ):
            pass
        assert content(tmp_path) == before

    @pytest.mark.parametrize("card", ["{}", "[]", "3", '{"id": "x"}', "not json", ""])
    def test_a_card_that_is_none_of_ours_makes_it_a_strangers_folder(self, tmp_path: Path, card: str) -> None:
        (tmp_path / "run.json").write_text(card)
        with pytest.raises(OccupiedError, match="holds no run"), held(tmp_path, RUN, SETTINGS, DATA):
            pass
        assert content(tmp_path) == {"run.json": card.encode()}

    def test_another_runs_folder_is_left_alone(self, folder: Path) -> None:
        before, other = content(folder), replace(SETTINGS, seed=7)
        with pytest.raises(OccupiedError, match=f"another run, {RUN}"), held(folder, other.run_id(DATA), other, DATA):
            pass
        assert content(folder) == before

    def test_data_that_has_changed_since_is_told_with_both_digests(self, folder: Path) -> None:
        before = content(folder)
        moved = replace(SETTINGS, data="/home/me/episodes.csv")
        with (
            pytest.raises(DataError, match=r"changed since.*then aaaaaaaaaaaa, now bbbbbbbbbbbb.*Restore") as caught,
            held(folder, moved.run_id(CHANGED), moved, CHANGED),
        ):
            pass
        assert caught.value.where == "/home/me/episodes.csv"
        assert content(folder) == before

    def test_a_path_that_cannot_be_a_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(UsageError), held(path, RUN, SETTINGS, DATA):
                pass
