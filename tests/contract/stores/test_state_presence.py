"""What becomes of a state file that somebody removes, replaces, cuts off or overwrites."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from exporter.errors import StateRefused, StateUnavailable
from exporter.ledger.sql.ledger import SqlLedger
from exporter.metrics import families as f
from tests.tools import reloading
from tests.tools.reloading import Inside, Stage, assert_counted, eventually, run
from tests.tools.scripted import Rig, build, done

Harm = Callable[[Path], None]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A process that has counted a build and has looked at its state."""
    (tmp_path / "state").mkdir()
    rig = Rig(tmp_path / "state/s.db")
    rig.provider._builds = [done(build("1"))]
    rig.poll()
    look(rig)
    return rig


def look(rig: Rig) -> None:
    rig.run(rig.recorder.look)


def path_of(rig: Rig) -> Path:
    return Path(rig.url.removeprefix("sqlite:///"))


def counted(path: Path) -> int:
    """The builds that are counted in a file, as the next process has it."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return int(db.execute("SELECT count(*) FROM attempt").fetchone()[0])


def assert_refused(rig: Rig, text: str, *, why: str = "") -> None:
    """Nothing is counted, and what is wrong is told."""
    with pytest.raises(StateUnavailable, match=text + why):
        look(rig)
    assert not rig.recorder.state_ok
    shown = rig.value(f.BUILDS)
    rig.provider._builds = [*rig.provider._builds, done(build("never"))]
    with pytest.raises(StateUnavailable, match=text):
        rig.poll()
    assert rig.value(f.BUILDS) == shown
    rig.provider._builds.pop()


def assert_goes_on(rig: Rig) -> None:
    """Counts another build, and the next process knows all of them."""
    shown = rig.value(f.BUILDS)
    rig.provider._builds = [*rig.provider._builds, done(build(f"n{shown}"))]
    rig.poll()
    assert rig.recorder.state_ok
    assert rig.value(f.BUILDS) == shown + 1
    look(rig)
    rig.restart()
    assert rig.value(f.BUILDS) == shown + 1
    rig.poll()
    assert rig.value(f.BUILDS) == shown + 1
    look(rig)


def test_a_file_that_stays_is_no_trouble(rig: Rig) -> None:
    for number in range(3):
        rig.provider._builds.append(done(build(f"{number}x")))
        rig.poll()
        look(rig)
    assert_goes_on(rig)
    rig.crash()


def remove(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def remove_all(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


@pytest.mark.parametrize("harm", [remove, move, remove_all])
def test_a_file_that_is_gone_is_told_and_written_anew(
    rig: Rig, harm: Harm, caplog: pytest.LogCaptureFixture
) -> None:
    path = path_of(rig)
    harm(path)

    assert_refused(rig, "was removed or moved while it was in use: unless it comes back")
    assert not path.exists()
    assert [r.levelname for r in caplog.records if "was removed" in r.message] == ["ERROR"]
    look(rig)

    assert path.exists()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert_goes_on(rig)
    rig.crash()
    assert counted(path) == 2


def test_a_file_that_comes_back_is_taken_as_it_is(rig: Rig) -> None:
    path = path_of(rig)
    move(path)
    assert_refused(rig, "was removed or moved")
    path.with_name("elsewhere.db").rename(path)

    look(rig)

    assert_goes_on(rig)
    rig.crash()


def test_a_folder_that_is_gone_is_told_until_it_is_back(rig: Rig) -> None:
    path = path_of(rig)
    shutil.rmtree(path.parent)
    for _ in range(3):
        assert_refused(rig, "the folder of state file .* is gone")
    path.parent.mkdir()
    assert_refused(rig, "was removed or moved")

    look(rig)

    assert_goes_on(rig)
    rig.crash()


def test_no_other_file_is_overwritten(rig: Rig) -> None:
    path = path_of(rig)
    path.unlink()
    assert_refused(rig, "was removed or moved")
    path.write_text("somebody else's")

    for _ in range(3):
        assert_refused(rig, "another file has taken the place")

    assert path.read_text() == "somebody else's"
    path.unlink()
    assert_refused(rig, "was removed or moved")
    look(rig)
    assert_goes_on(rig)
    rig.crash()


def backup(rig: Rig) -> Path:
    """A sound copy of the state, after which another build is counted."""
    copy = path_of(rig).with_name("backup.db")
    rig.ledger._db.execute("VACUUM INTO ?", (str(copy),))
    rig.provider._builds.append(done(build("2")))
    rig.poll()
    look(rig)
    return copy


def replaced(copy: Path, path: Path) -> None:
    copy.rename(path)


def copied_over(copy: Path, path: Path) -> None:
    path.write_bytes(copy.read_bytes())
    copy.unlink()


@pytest.mark.parametrize("restore", [replaced, copied_over])
@pytest.mark.parametrize("ends", ["stop", "kill"])
def test_a_backup_that_is_put_in_its_place_is_what_the_next_process_has(
    rig: Rig, restore: Callable[[Path, Path], None], ends: str
) -> None:
    path = path_of(rig)
    copy = backup(rig)
    content = copy.read_bytes()
    restore(copy, path)
    for _ in range(2):
        assert_refused(rig, "another file has taken the place|was overwritten or cut off")

    left = {file: file.read_bytes() for file in path.parent.iterdir()}
    rig.crash()
    if ends == "kill":  # all that is left is what was on the disk
        for file, data in left.items():
            file.write_bytes(data)

    assert path.read_bytes() == content
    assert counted(path) == 1
    rig.start()
    rig.poll()
    assert rig.value(f.BUILDS) == 2  # the one that the backup does not have, once
    rig.crash()


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


@pytest.mark.parametrize("harm", [empty, cut, overwrite])
def test_a_file_that_is_spoiled_is_told_and_not_made_worse(rig: Rig, harm: Harm) -> None:
    path = path_of(rig)
    harm(path)
    spoiled = path.read_bytes()

    for _ in range(2):
        assert_refused(rig, "was overwritten or cut off .*: put a backup in its place and restart")

    rig.crash()
    assert path.read_bytes() == spoiled


def test_a_log_that_is_gone_is_made_anew_and_nothing_is_lost(rig: Rig) -> None:
    path = path_of(rig)
    path.with_name("s.db-wal").unlink()

    assert_refused(rig, "s.db-wal.* was removed or replaced")
    look(rig)

    assert_goes_on(rig)
    rig.crash()


@pytest.mark.parametrize("size", [0, 10, 100])
def test_a_log_that_is_cut_off_is_told_before_it_spoils_the_file(rig: Rig, size: int) -> None:
    path = path_of(rig)
    rig.provider._builds.append(done(build("2")))
    rig.poll()
    before = path.read_bytes()
    os.truncate(path.with_name("s.db-wal"), size)
    with contextlib.suppress(StateUnavailable):
        rig.provider._builds.append(done(build("3")))
        rig.poll()

    for _ in range(2):
        assert_refused(rig, "s.db-wal.* was cut off")
    rig.crash()

    assert path.read_bytes() == before
    assert counted(path) == 1


def test_where_there_is_no_room_for_a_new_file_it_is_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(rig)
    path.unlink()
    assert_refused(rig, "was removed or moved")

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_room)
        assert_refused(rig, "was removed or moved", why=".*No space left")
    assert list(path.parent.glob("*.new")) == []

    look(rig)
    assert_goes_on(rig)
    rig.crash()


def test_a_state_in_memory_has_no_file() -> None:
    rig = Rig(None)
    look(rig)
    assert rig.recorder.state_ok
    rig.crash()


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        rig = Rig(tmp_path / "s.db")
        rig.provider._builds = [done(build("1"))]
        rig.poll()
    finally:
        os.umask(before)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"s.db": 0o600, "s.db-wal": 0o600}
    rig.crash()


def test_the_mode_of_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.touch(mode=0o640)
    path.chmod(0o640)

    Rig(path).crash()

    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateRefused, match="cannot be opened: No such file or directory"):
        Rig(tmp_path / "nowhere/s.db")


stage = reloading.stage


def test_a_running_process_looks_at_its_file_and_shows_what_became_of_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqlLedger, "look_every", 0.05)
    stage.write("one")

    async def work(inside: Inside) -> None:
        def assert_state(ok: float) -> None:
            assert inside.scrape().value("cicd_exporter_state_ok") == ok

        await eventually(lambda: assert_counted(inside, one=2))
        (path,) = stage.folder.glob("*.db")
        path.unlink()
        await eventually(lambda: assert_state(0))
        await eventually(lambda: assert_state(1))
        assert path.exists()

    run(stage, work)
