from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats.specimens import WHOLE, contents, read_through
from fewtune.errors import DataError

FUZZ = Path(__file__).with_name("fuzz.py")
EXAMPLES = 50_000


@settings(deadline=None, max_examples=EXAMPLES // 10)
@given(case=st.sampled_from(sorted(WHOLE)).flatmap(lambda ending: st.tuples(st.just(ending), contents(ending))))
def test_any_bytes_under_any_ending_give_records_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[str, bytes]
) -> None:
    ending, content = case
    path = tmp_path_factory.getbasetemp() / f"any.{ending}"
    path.write_bytes(content)
    try:
        read_through(path)
    except DataError as error:
        assert error.where and error.fix


@pytest.mark.slow
def test_no_damaged_file_takes_a_second_or_64_mebibytes() -> None:
    result = subprocess.run([sys.executable, FUZZ, str(EXAMPLES)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    seconds, mebibytes = map(float, result.stdout.split())
    assert seconds < 1
    assert mebibytes < 64
