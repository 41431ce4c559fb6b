"""What CI, releases, locks and the documents for contributors say is what the Makefile and the files do."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from installed import OF_THE_CHECKOUT

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
DOCUMENTS = [*(ROOT / name for name in ("CONTRIBUTING.md", "RELEASING.md", "SECURITY.md")), *DECISIONS]


def parsed(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):(?!=)", text, re.MULTILINE))


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in parsed(workflow)["jobs"].values():
        yield from job["steps"]


def made(workflow: Path) -> list[str]:
    """The targets that a workflow calls, in order."""
    runs = (step["run"] for step in steps(workflow) if "run" in step)
    return list(chain.from_iterable(shlex.split(run)[1:] for run in runs if run.startswith("make ")))


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        told: dict[str, Any] = tomllib.load(file)["project"]
    return told


def named(requirement: str) -> str:
    """The name in a requirement, as the index writes names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()  # type: ignore[index]


def pinned(file: str) -> dict[str, str]:
    """Each package of a file and its version."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = (re.match(r"([\w.-]+)==([^ ;\\]+)", line) for line in lines)
    return {named(pin[1]): pin[2] for pin in pins if pin}


# ---- what is called --------------------------------------------------------------------------------


def test_ci_calls_the_targets_that_a_developer_calls() -> None:
    """Every Python that is promised gets the linters, the suite, and the wheel without its source."""
    job = parsed(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]
    pythons = [int(version.removeprefix("3.")) for version in job["strategy"]["matrix"]["python"]]
    assert pythons == list(range(11, 15))
    assert project()["requires-python"] == f">=3.{pythons[0]}"
    called = [step["run"] for step in job["steps"] if "run" in step]
    assert called[-3:] == ["make check", "make test", "make wheel-test"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_targets_that_exist(workflow: Path) -> None:
    """Each `make` in a workflow names a target of the Makefile."""
    assert made(workflow)
    assert set(made(workflow)) <= targets()


def test_what_git_calls_exists() -> None:
    """Each hook of pre-commit is a make target, and needs no network."""
    for repository in parsed(".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            program, target = hook["entry"].split()
            assert (program, hook["language"]) == ("make", "system")
            assert target in targets()


def test_every_target_is_listed_and_needs_no_file() -> None:
    """`make help` tells of each target, and a file of that name in the checkout changes nothing."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split())  # type: ignore[index]
    told = set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
    assert phony == told == targets()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_targets_that_exist(document: Path) -> None:
    """Each `make` that CONTRIBUTING.md and its like tell of is there."""
    text = document.read_text(encoding="utf-8")
    assert set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE)) <= targets()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_that_exist(document: Path) -> None:
    """Links lead somewhere, and each path of the checkout that is told is there."""
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / link).exists(), link
    roots = "|".join(("daemon", "docs", "tests", "benchmarks", "config", "systemd", r"\.github"))
    for path in re.findall(rf"`((?:{roots})/[^` ]*)`", text):
        assert (ROOT / path).exists(), path


def test_every_decision_is_listed() -> None:
    """docs/decisions/README.md has a line for each note, and the notes are numbered without a gap."""
    notes = [path for path in DECISIONS if path.name != "README.md"]
    assert [int(path.name[:4]) for path in notes] == list(range(1, len(notes) + 1))
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\(([^)]+)\)", listed) == [path.name for path in notes]


# ---- what others run for us ------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_may_do_little(workflow: Path) -> None:
    """Each action is named by its commit, with its version beside it; unasked, a job may only read."""
    text = workflow.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.+)$", text, re.MULTILINE)
    assert uses
    for use in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use
    assert parsed(workflow)["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_no_name_from_outside_becomes_a_command(workflow: Path) -> None:
    """Tags and branches are named by strangers: shell lines get them by environment, never pasted in."""
    for step in steps(workflow):
        assert "${{" not in step.get("run", ""), step["run"]


def test_new_versions_cool_down() -> None:
    """No version is proposed in its first week, whatever it is a version of."""
    updates = parsed(".github/dependabot.yml")["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"pip", "github-actions", "docker"}
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)


def test_who_reports_a_bug_is_asked_for_what_the_daemon_says() -> None:
    """The form wants `captiond check`, `status --json` and `explain`; GitHub can show both forms."""
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    bug = parsed(folder / "bug.yml")
    asked = {part["attributes"].get("label", "") for part in bug["body"]}
    assert {"captiond check", "captiond status --json", "captiond explain PICTURE"} <= asked
    for form in (bug, parsed(folder / "feature.yml")):
        assert form["name"] and form["description"]
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(ids) == len(set(ids)) > 0


# ---- versions --------------------------------------------------------------------------------------


def test_everything_that_is_asked_for_is_pinned() -> None:
    """constraints.txt has a version for each package that pyproject.toml names, torch among them."""
    extras = project()["optional-dependencies"]
    wanted = {named(one) for one in chain(project()["dependencies"], *extras.values())}
    assert wanted <= set(pinned("constraints.txt"))


def test_the_constraints_are_plain_pins_in_order() -> None:
    """One version of each package, exact, sorted, without addresses, so that a change shows as one line."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    names = [named(pin) for pin in pins]
    assert len(names) == len(set(names))
    assert [pin.partition("=")[0].lower() for pin in pins] == sorted(
        pin.partition("=")[0].lower() for pin in pins
    )


def test_the_lock_agrees_with_the_constraints() -> None:
    """Both say the same version of what both name; the lock has all that a user may install, and no tools."""
    lock, constraints = pinned("requirements.lock"), pinned("constraints.txt")
    both = lock.keys() & constraints.keys()
    assert {name: lock[name] for name in both} == {name: constraints[name] for name in both}
    extras = project()["optional-dependencies"]
    wanted = {named(one) for one in chain(project()["dependencies"], extras["quant"])}
    assert wanted <= set(lock)
    assert not {"pytest", "mypy", "ruff"} & set(lock)


def test_the_lock_for_servers_is_the_same_without_what_runs_a_model() -> None:
    """Whoever asks a server installs all that captiond needs, in the same versions, and no torch."""
    remote, lock = pinned("requirements-remote.lock"), pinned("requirements.lock")
    here = {"accelerate", "torch", "transformers"}
    assert remote.items() <= lock.items()
    assert {named(one) for one in project()["dependencies"]} - here <= set(remote)
    assert not set(remote) & {*here, "triton", "tokenizers"}


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-remote.lock"])
def test_the_lock_has_hashes_and_no_address(file: str) -> None:
    """Each package has the checksums of its files; where they come from is up to whoever installs."""
    text = (ROOT / file).read_text(encoding="utf-8")
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    entries = re.findall(r"^[\w.-]+==.*(?:\n    --hash=.*)*", text, re.MULTILINE)
    assert len(entries) == len(pinned(file))
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_lock_is_for_the_builds_with_cuda() -> None:
    """torch in the lock is the public release, not a local build, and brings NVIDIA's libraries on Linux."""
    lock = pinned("requirements.lock")
    assert lock["torch"] == pinned("constraints.txt")["torch"]
    assert "+" not in lock["torch"]
    assert any(name.startswith("nvidia-") for name in lock)


# ---- the wheel without its source ------------------------------------------------------------------


def test_what_the_wheel_is_not_asked_for_exists() -> None:
    """Each test that `make wheel-test` leaves out is there, so that none is left out by a former name."""
    for test in OF_THE_CHECKOUT:
        file, _, function = test.partition("::")
        assert (ROOT / file).is_file(), file
        defined = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        functions = {node.name for node in defined if isinstance(node, ast.FunctionDef)}
        assert not function or function in functions


def test_whatever_reaches_for_the_checkout_is_named() -> None:
    """A test file that looks for what lies beside tests/ is on the list, whole or by a function."""
    known = {test.partition("::")[0] for test in OF_THE_CHECKOUT}
    beside = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.name not in {"tests", "daemon"})
    reaches = re.compile(rf"__file__.*parent.*/ \"(?:{beside})\"|^ROOT = Path\(", re.MULTILINE)
    found = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "tests").rglob("test_*.py")
        if reaches.search(file.read_text(encoding="utf-8"))
    }
    assert "tests/test_config_files.py" in found
    assert found <= known


def test_the_site_shows_every_page_once() -> None:
    """Whoever adds a page to docs/ gives it a place in mkdocs.yml; what the table names is there."""
    table = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    shown = [page for section in table for pages in section.values() for page in _listed(pages)]
    docs = ROOT / "docs"
    assert len(shown) == len(set(shown))
    assert {str(page.relative_to(docs)) for page in docs.rglob("*.md")} <= set(shown)
    assert all((docs / page).exists() or _elsewhere(page).exists() for page in shown)


def _listed(pages: str | list[str]) -> list[str]:
    return [pages] if isinstance(pages, str) else pages


def _elsewhere(page: str) -> Path:
    places = {"index.md": "README.md", "RESULTS.md": "benchmarks/RESULTS.md"}
    return ROOT / places.get(page, page)
