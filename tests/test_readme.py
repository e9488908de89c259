"""Every command and program in the README runs as it stands."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hub_client import client_environment
from hub_server import hub

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def newcomer(tiny_base, tiny_embedder, tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("newcomer")


def run(arguments: list[str], folder: Path, environment: Mapping[str, str] = os.environ) -> None:
    environment = {**environment, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr


def test_the_commands_run_in_their_order(newcomer: Path) -> None:
    commands = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("echoset ")]
    assert len(commands) >= 19
    with hub() as server:  # of the public one's address
        environment = client_environment(server.endpoint, "hf_me", newcomer / "home")
        for command in commands:
            options = [] if "doctor" in command else ["--json"]
            run([sys.executable, "-m", "echoset", *command.split()[1:], *options], newcomer, environment)


def test_the_programs_run(newcomer: Path) -> None:
    programs = blocks("python")
    assert programs
    for program in programs:
        run([sys.executable, "-W", "ignore::FutureWarning", "-c", program], newcomer)


def test_make_demo_is_the_quick_study() -> None:
    plan = subprocess.run(["make", "-n", "demo"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert "echoset study --preset quick --out runs/quick" in plan


def test_its_tables_list_every_method_and_engine() -> None:
    from labelers import METHODS
    from labelers.engines import ENGINES

    for title, known in (("Labeling methods", METHODS), ("Engines", ENGINES)):
        section = README.split(f"## {title}\n")[1].split("\n## ")[0]
        assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == set(known), title


def test_its_table_lists_every_metric() -> None:
    from shift import METRICS

    section = README.split("## Shift: how far, along what, how sure\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(METRICS)


def test_what_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (REPOSITORY / target).exists(), target
