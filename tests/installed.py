"""Tries the wheel where no source is in sight; `make wheel-test` calls it with the folder of the built wheel.

    FOLDER/venv           an environment made anew, pinned by constraints.txt
    a temporary folder    a copy of tests/ and of pyproject.toml, which has pytest's settings; all runs there

The wheel is installed alone first, as a user would, and the demo is run: a package that captiond needs and
does not name is missed there, and not hidden by the tests' own.  Then its extras come, and the tests.  This
script needs nothing but Python.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent

# Tests of what lies in the checkout beside the package.  Each other test must pass without it.
OF_THE_CHECKOUT = (
    "tests/delivery/test_sidecar.py::test_the_documents_name_every_kind",
    "tests/support/test_settings_file.py::test_the_settings_that_come_with_captiond_are_plain_enough",
    "tests/test_bench.py::test_the_documented_table_is_the_computed_one",
    "tests/test_config_files.py",
    "tests/test_daemon_benchmarks.py",
    "tests/test_gpu_benchmark.py",
    "tests/test_init.py::test_only_what_was_chosen_differs_from_the_settings_that_come_along",
    "tests/test_init.py::test_the_lines_for_systemd_name_files_that_are_there",
    "tests/test_other_families.py::test_the_page_on_models_names_those_in_whole_batches",
    "tests/test_packaging.py",
    "tests/test_pictures.py::test_the_page_on_formats_says_what_the_table_says",
    "tests/test_project.py",
)

_CONSTRAINTS = ROOT / "constraints.txt"
_IGNORED = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".hypothesis")


def main() -> int:
    arguments = argparse.ArgumentParser(description="Try the built wheel with the source away.")
    arguments.add_argument("dist", type=Path, help="the folder with the one wheel")
    arguments.add_argument("folder", type=Path, help="where the environment is made")
    arguments.add_argument("tests", nargs="*", default=["tests"], help="which tests; all of them by default")
    asked = arguments.parse_args()
    (wheel,) = asked.dist.glob("*.whl")
    python = new_environment(asked.folder.resolve() / "venv")
    with TemporaryDirectory(prefix="captiond-wheel-") as elsewhere:
        place = Path(elsewhere)
        place.chmod(0o755)  # some tests run processes of other users, which must find the tests' modules
        with told(f"{wheel.name} alone"):
            install(python, wheel)
            come_from_the_wheel(python, place)
        with told("demo"):
            run([python.with_name("captiond"), "demo", "demo"], place)
        with told("extras http and test"):
            install(python, wheel, "test")
        copy_tests(place)
        print("Left out, since they are of the checkout:", *OF_THE_CHECKOUT, sep="\n  ")
        with told(f"tests: {' '.join(asked.tests)}"):
            run([python, "-m", "pytest", *pytest_options(), *asked.tests], place)
    print("The wheel works without its source.")
    return 0


def new_environment(folder: Path) -> Path:
    """An empty environment; its interpreter."""
    with told(f"new environment for Python {sys.version_info.major}.{sys.version_info.minor}"):
        venv.create(folder, clear=True, with_pip=True)
    return folder / "bin" / "python"


def install(python: Path, wheel: Path, *extras: str) -> None:
    wanted = str(wheel.resolve()) + (f"[{','.join(extras)}]" if extras else "")
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", "-c", _CONSTRAINTS, wanted], ROOT)
    run([*pip, "check"], ROOT)


def come_from_the_wheel(python: Path, place: Path) -> None:
    """AssertionError where `captiond` would be imported from anywhere but the environment."""
    said = subprocess.run(
        [python, "-c", "import captiond; print(captiond.__file__)"],
        cwd=place,
        env=surroundings(),
        check=True,
        capture_output=True,
        text=True,
    )
    imported = Path(said.stdout.strip())
    assert imported.is_relative_to(python.parent.parent), f"captiond comes from {imported}"


def copy_tests(place: Path) -> None:
    """The tests without those of the checkout, and the settings of pytest."""
    shutil.copytree(ROOT / "tests", place / "tests", ignore=_IGNORED)
    shutil.copy(ROOT / "pyproject.toml", place)
    for test in OF_THE_CHECKOUT:
        if "::" not in test:
            (place / test).unlink()


def pytest_options() -> Iterator[str]:
    yield from ("-n", os.environ.get("JOBS", "2"), "--dist", "loadgroup")
    for test in OF_THE_CHECKOUT:
        if "::" in test:
            yield from ("--deselect", test)


def surroundings() -> Mapping[str, str]:
    """No path and no setting of whoever calls."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("CAPTIOND_", "PYTHON"))
    }
    return inherited | {"OMP_NUM_THREADS": "1"}


def run(command: Sequence[str | Path], place: Path) -> None:
    subprocess.run(command, cwd=place, env=surroundings(), check=True)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    print(f"== {what}", flush=True)
    began = time.monotonic()
    yield
    print(f"== {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:
        sys.exit(f"failed: {' '.join(map(str, failed.cmd))}")
