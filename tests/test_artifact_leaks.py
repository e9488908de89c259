"""Secrets and places of this machine are planted wherever text can enter an artifact; none of it gets in, or out."""

import html
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from drafts import make_draft

from datasets_cards import (
    Artifact,
    Draft,
    Dropped,
    InputError,
    Labeler,
    Score,
    ScorerCheck,
    attach,
    verify,
    write_artifact,
)
from datasets_cards.leaks import refuse_leaks, refuse_secrets_in_tables, strings, texts_of_file, texts_of_records
from datasets_cards.tables.schemas import SCHEMAS

VARIABLE = "planted value, of a variable"
STORED, NAMED = "hf_storedTokenOfThisMachine", "hf_namedTokenOfThisMachine"
PASSWORD = 'pass"word\\with <signs> & more'
HOME_NAME = "alice-of-this-machine"
SECRETS = (VARIABLE, STORED, NAMED, PASSWORD)


@pytest.fixture(autouse=True)
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a logged-in Hub client, and an environment with secrets; returns the home."""
    home = tmp_path / "home" / HOME_NAME
    (home / ".cache" / "huggingface").mkdir(parents=True)
    (home / ".cache" / "huggingface" / "token").write_text(STORED + "\n")
    (home / ".cache" / "huggingface" / "stored_tokens").write_text(f"[mine]\nhf_token = {NAMED}\n")
    for name in ("HF_HOME", "HF_TOKEN_PATH", "HF_STORED_TOKENS_PATH", "XDG_CACHE_HOME", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PLANTED_API_KEY", VARIABLE)
    monkeypatch.setenv("DATABASE_PASSWORD", PASSWORD)
    monkeypatch.setenv("SOME_SETTING", "plain-value-of-a-variable")
    monkeypatch.setenv("MAX_TOKEN", "short")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "Answer 0 of")  # a setting of a tokenizer is no token
    monkeypatch.chdir(home)
    return home


def update(part: str, **changes) -> Callable[[Draft, str], None]:
    """Put the text into a field of one part of the draft."""

    def plant(draft: Draft, text: str) -> None:
        fresh = {name: change(text) if callable(change) else change for name, change in changes.items()}
        setattr(draft, part, getattr(draft, part).model_copy(update=fresh))

    return plant


def labeler(config: Callable[[str], dict]) -> Callable[[Draft, str], None]:
    def plant(draft: Draft, text: str) -> None:
        draft.labeler = Labeler(method="m", proposal="p", selector="s", config=config(text))

    return plant


def put(part: str, value: Callable[[str], dict]) -> Callable[[Draft, str], None]:
    return lambda draft, text: setattr(draft, part, value(text))


def check(text: str) -> ScorerCheck:
    return ScorerCheck(accuracy=0.5, low=0.4, high=0.6, pairs=9, data=text)


TOLD = {
    "source reference": update("source", reference=str),
    "source license": update("source", license=str),
    "model reference": update("model", reference=lambda text: f"models of {text}"),
    "model dtype": update("model", dtype=str),
    "engine name": update("engine", name=str),
    "engine version": update("engine", version=str),
    "what the engine lacks": update("engine", lacks=lambda text: {"logprob": f"no answer with {text}"}),
    "config value": labeler(lambda text: {"a": [{"b": f"see {text}."}]}),
    "config key": labeler(lambda text: {text: 1}),
    "method": update("labeler", method=str),
    "name of a seed": put("seeds", lambda text: {"run": 0, text: 1}),
    "name of a scorer": put("scorers", lambda text: {text: None}),
    "data of a scorer": put("scorers", lambda text: {"reward": check(text)}),
    "package": put("packages", lambda text: {"python": text}),
    "reason of a drop": lambda draft, text: setattr(draft.dropped[0], "reason", text),
    "detail of a drop": lambda draft, text: setattr(draft.dropped[0], "detail", f"said {text}"),
    "error": lambda draft, text: setattr(draft.candidates[-1], "error", f"401 with {text}"),
}


@pytest.mark.parametrize("place", TOLD)
@pytest.mark.parametrize("kind", [*SECRETS, "home"])
def test_what_describes_an_artifact_tells_no_secret_and_no_home(planted: Path, place: str, kind: str) -> None:
    text = str(planted / "models") if kind == "home" else kind
    draft = make_draft()
    TOLD[place](draft, text)
    with pytest.raises(InputError) as caught:
        write_artifact("leaky", draft)
    assert text not in str(caught.value) and HOME_NAME not in str(caught.value)
    assert not os.path.lexists("leaky") and sorted(os.listdir(".")) == [".cache"]


@pytest.mark.parametrize(
    "shape",
    [
        "hf_" + "aB3dE" * 7,
        "sk-proj-" + "aB3_dE-" * 4,
        "ghp_" + "aB3dE6" * 6,
        "github_pat_" + "aB3dE6_" * 5,
        "AKIA" + "ABCD2345EFGH6789",
        "glpat-" + "aB3dE6-" * 3,
        "xoxb-" + "1234567890-" * 2,
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----",
        "http://user:pw@10.0.0.1:8000",
        "postgres+psycopg://:p%40ss@db/rows",
        "HTTPS://me:s3cr:et@hub.example",
    ],
)
def test_what_looks_like_a_token_is_refused_whosever_it_is(shape: str) -> None:
    draft = make_draft()
    draft.labeler = Labeler(method="m", proposal="p", selector="s", config={"note": f"with {shape} it runs"})
    with pytest.raises(InputError, match="looks like an access token, a private key or a password") as caught:
        write_artifact("leaky", draft)
    assert shape not in str(caught.value) and "manifest.labeler.config.note" in str(caught.value)


def test_words_that_only_begin_like_a_token_are_fine() -> None:
    harmless = ["hf_transfer", "task-management-of-a-very-long-name", "sk-learn-compatible-estimators", "MAKIAVELLI"]
    refuse_leaks((word, word) for word in [*harmless, "/no_think", "short", "a PUBLIC KEY", "~ 5%"])


@pytest.mark.parametrize(
    "text",
    [
        "ssh://git@github.com/org/name",
        "http://127.0.0.1:8000/v1, written by me@home.example",
        '{"server": "http://localhost:8000", "by": "me@home.example"}',
        "https://[::1]:8000/@me",
        "http://user:***@10.0.0.1 and http://{user}:{password}@host",
        "mongodb://user:password@localhost, ftp://me:PASS@host",
        "see https://doi.org/10.1:2/x@y",
    ],
)
def test_an_address_without_a_password_is_fine(text: str) -> None:
    refuse_leaks([("note", text)])


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("DB_PASS", "hunter2-hunter2", "hunter2-hunter2"),
        ("SSHPASS", "hunter2-hunter2", "hunter2-hunter2"),
        ("mysql_pwd", "hunter2-hunter2", "hunter2-hunter2"),
        ("DATABASE_URL", "postgres://app:hunter2-hunter2@db:5432/rows?ssl=1", "hunter2-hunter2"),
        ("DATABASE_URL", "postgres://app:hunter%232%2Fhunter@db/rows", "hunter#2/hunter"),
        ("https_proxy", "http://me:hunter2-hunter2@proxy:3128", "hunter2-hunter2"),
    ],
    ids=lambda text: str(len(text)),  # pytest puts it into the environment
)
def test_passwords_of_the_environment_are_known_by_many_names(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, secret: str
) -> None:
    refuse_leaks([("note", f"with {secret}")])
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=rf"note: holds the value of .*{name}") as caught:
        refuse_leaks([("note", f"with {secret}")])
    assert secret not in str(caught.value)


def test_what_only_sounds_like_a_password_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = {
        "PWD": "/anywhere",
        "OLDPWD": "/anywhere/else",
        "CACHE_BYPASS": "always-on",
        "DATABASE_URL": "postgres://postgres:postgres@db/rows",
        "BASE_URL": "http://localhost:8000/v1",
    }
    for name, value in harmless.items():
        monkeypatch.setenv(name, value)
    refuse_leaks([("note", "/anywhere/else is always-on with postgres at http://localhost:8000/v1")])


@pytest.mark.parametrize(
    ("place", "plant"),
    {
        "detail of dropped row r5": lambda draft, text: setattr(draft.dropped[0], "detail", text),
        "error of a candidate of r0": lambda draft, text: setattr(draft.candidates[1], "error", text),
        "scorer of a candidate of r0": lambda draft, text: draft.candidates[0].scores.append(Score(text, 1.0)),
        "reason of a score of r0": lambda draft, text: draft.candidates[0].scores.append(Score("judge", None, text)),
        "method of the label of r2": lambda draft, text: setattr(draft.labels[2], "method", text),
    }.items(),
)
def test_what_records_say_beside_the_data_is_searched_and_named(planted: Path, place: str, plant) -> None:
    draft = make_draft()
    plant(draft, f"No such file: {planted}/models/x.safetensors")
    with pytest.raises(InputError, match=f"{place}: names a place on this machine"):
        refuse_leaks(texts_of_records(draft.candidates, draft.labels, draft.dropped))
    texts = [text for _, text in texts_of_records(draft.candidates, draft.labels, draft.dropped)]
    assert len(texts) == len(set(texts)) and {"no reward model", "mean_logprob"} <= {*texts}


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A picture of one pixel, with these chunks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = chunk(b"IHDR", (1).to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0]))
    pixel, end = chunk(b"IDAT", zlib.compress(b"\0\0")), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*one) for one in chunks) + pixel + end


def attachments(text: str) -> dict[str, dict[str, bytes]]:
    raw = text.encode()
    return {
        "json": {"shift/report.json": json.dumps({"a": [text]}).encode()},
        "markdown": {"shift/notes.md": b"Measured with " + raw},
        "svg": {"shift/plot.svg": b"<svg><desc>" + raw + b"</desc></svg>"},
        "page": {"effects/page.html": b"<p>" + html.escape(text).encode()},
        "png text": {"effects/plot.png": png((b"tEXt", b"Source\0" + raw))},
        "png packed text": {"effects/plot.png": png((b"zTXt", b"Source\0\0" + zlib.compress(raw)))},
        "png international text": {"effects/plot.png": png((b"iTXt", b"Source\0\1\0en\0\0" + zlib.compress(raw)))},
        "png after its end": {"effects/plot.png": png() + raw},
        "a text called png": {"effects/plot.png": raw},
    }


@pytest.mark.parametrize("kind", [*SECRETS[:3], "home"])
@pytest.mark.parametrize("place", attachments(""))
def test_what_is_attached_tells_no_secret_and_no_home(planted: Path, place: str, kind: str) -> None:
    text = f"{planted}/minilm" if kind == "home" else kind
    artifact = write_artifact("out", make_draft())
    files = attachments(text)[place]
    with pytest.raises(InputError) as caught:
        attach(artifact, files)
    assert next(iter(files)) in str(caught.value) and text not in str(caught.value)
    with pytest.raises(InputError, match="summary"):
        attach(artifact, {"shift/report.json": b"{}"}, summary=f"See {text}.")
    assert verify("out") == [] and Artifact.open("out").manifest.version == artifact.manifest.version


def test_a_password_with_signs_is_found_as_json_and_pages_write_it() -> None:
    for name in ("json", "page", "markdown"):
        with pytest.raises(InputError, match="DATABASE_PASSWORD"):
            refuse_leaks(text for item in attachments(PASSWORD)[name].items() for text in texts_of_file(*item))


def test_a_sound_picture_is_attached() -> None:
    words = png((b"tEXt", b"Software\0Matplotlib"), (b"zTXt", b"Note\0\0not packed at all"), (b"pHYs", bytes(9)))
    grown = attach(write_artifact("out", make_draft()), {"effects/plot.png": words})
    assert verify(grown.path) == []
    for broken in (words[:-20], words[:20], words[:8], words[:33] + b"\xff" * 12):
        list(texts_of_file("plot.png", broken))


def test_a_card_that_people_wrote_tells_no_secret(planted: Path) -> None:
    artifact = write_artifact("out", make_draft())
    card = (artifact.path / "README.md").read_text()
    for text in (STORED, f"{planted}/notes"):
        (artifact.path / "README.md").write_text(card + f"\n\n## My notes\n\nMade with {text}.\n")
        with pytest.raises(InputError, match=r"README\.md") as caught:
            attach(artifact, {"shift/report.json": b"{}"})
        assert text not in str(caught.value)


# Rows


def everywhere(draft: Draft, text: str) -> dict[str, Callable[[], object]]:
    """Each place in the rows, with how to plant the text there."""
    row, label, candidate = draft.rows[1], draft.labels[1], draft.candidates[2]
    original = row.original or []

    def answer() -> None:
        candidate.text = f"It is {text}."
        label.completion[0]["content"] = candidate.text

    def name() -> None:
        for record in [row, label, *(c for c in draft.candidates if c.id == "r1")]:
            record.id = text

    return {
        "id": name,
        "system prompt": lambda: row.prompt[0].update(content=f"Use {text}."),
        "prompt": lambda: row.prompt[1].update(content=f"Is {text} right?"),
        "original": lambda: original[0].update(content=text),
        "role": lambda: original[0].update(role=text),
        "meta value": lambda: row.meta.update(deep=[{"er": f"<{text}>"}]),
        "meta key": lambda: row.meta.update({text: 1}),
        "completion": answer,
        "view": lambda: setattr(draft.candidates[3], "view", text),
        "pool": lambda: [setattr(c, "pool", text) for c in draft.candidates],
        "method": lambda: setattr(label, "method", text),
        "name of a scorer": lambda: candidate.scores.append(Score(text, 1.0)),
        "reason of a score": lambda: candidate.scores.append(Score("judge", None, f"refused {text}")),
    }


@pytest.mark.parametrize("kind", [VARIABLE, STORED, PASSWORD, "home"])
@pytest.mark.parametrize("place", everywhere(make_draft(), ""))
def test_rows_with_a_secret_of_this_machine_are_not_published(planted: Path, place: str, kind: str) -> None:
    draft = make_draft(rows=40)
    text = f"{planted}/x" if kind == "home" else kind
    everywhere(draft, text)[place]()
    try:
        artifact = write_artifact("out", draft, shards=2)
    except InputError as error:  # all the better
        assert text not in str(error)
        return
    with pytest.raises(InputError, match="holds the value of|names the home") as caught:
        refuse_secrets_in_tables(artifact)
    line = str(caught.value)
    assert text not in line and HOME_NAME not in line and "Take " in line
    assert ("the id of a row" in line) if place == "id" else ("row r" in line)


def test_rows_may_speak_of_tokens_and_places_that_are_not_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    draft = make_draft()
    draft.rows[0].meta["text"] = f"hf_{'aB3dE' * 7} in /home/bob/x, /home/{HOME_NAME}-2/x and /root"
    artifact = write_artifact("out", draft)
    refuse_secrets_in_tables(artifact)
    for anybodys in ("/root", "/home/ubuntu", "/home"):
        monkeypatch.setenv("HOME", anybodys)
        draft.rows[1].meta["text"] = f"cd {anybodys}/project"
        refuse_secrets_in_tables(write_artifact("out", draft, overwrite=True))


def test_the_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    draft = make_draft()
    draft.dropped.append(Dropped("unread", "not_json", "line 7"))
    draft.rows[3].meta["token"] = VARIABLE
    with pytest.raises(InputError) as caught:
        refuse_secrets_in_tables(write_artifact("out", draft))
    assert str(caught.value) == (
        "original, row r3: holds the value of the secret environment variable PLANTED_API_KEY. Take it out of the data"
    )


def test_nothing_of_this_machine_stands_in_any_byte_of_an_artifact(planted: Path, tmp_path: Path) -> None:
    files = {"shift/report.json": b"{}", "effects/plot.png": png((b"tEXt", b"Software\0Matplotlib"))}
    artifact = attach(write_artifact(planted / "out", make_draft(rows=30), shards=2), files, summary="Small.")
    refuse_secrets_in_tables(artifact)
    forbidden = [*SECRETS, HOME_NAME, str(tmp_path), "plain-value-of-a-variable", os.uname().nodename]
    seen = [path.relative_to(artifact.path).as_posix().encode() for path in artifact.path.rglob("*")]
    for path in artifact.path.rglob("*"):
        if path.is_file():
            seen.append(path.read_bytes())
        if path.suffix == ".parquet":
            table = pq.read_table(path)  # unpacked
            assert table.column_names == SCHEMAS[path.parent.name].names
            seen += [text.encode() for row in table.to_pylist() for _, text in strings(row, "")]
            seen.append(repr(pq.read_metadata(path).metadata).encode())
    data = b"\n".join(seen)
    assert b"Answer 0 of r7" in data and b"Matplotlib" in data
    assert not [text for text in forbidden if text.encode() in data]
