"""The command line as a person meets it: verbs, exit statuses, one-line errors. In this process, on real components."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from datasets import Dataset
from drafts import make_draft

from datasets_cards import Labeler, Model, write_artifact
from echoset.cli import main

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {n} plus 2?"},
            {"role": "assistant", "content": f"It is {n + 2}."},
        ]
    }
    for n in range(1, 7)
]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command; gives (exit status, stdout, stderr). Samples are kept in the test's own store."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def label_arguments(data: Path, out: Path, store: Path, *more: str) -> list[object]:
    common = ["--max-new-tokens", "12", "--quiet", "--store", store]
    return ["label", "--model", "tiny", "--data", data, "--method", "self_confidence", "--out", out, *common, *more]


def one_line(text: str) -> bool:
    return text.startswith("echoset: ") and text.count("\n") == 1 and "Traceback" not in text


def test_label_shift_show_verify_train_and_eval_work_together(tiny_base, ran, rows, tmp_path: Path) -> None:
    artifact, store = tmp_path / "art", tmp_path / "s.sqlite"
    status, out, err = ran(*label_arguments(rows, artifact, store, "--k", "3", "--json"))
    assert (status, err) == (0, "")
    assert json.loads(out)["labeled"] == 6
    status, out, err = ran("shift", artifact, "--permutations", "99", "--json", "--quiet")
    assert status == 0 and json.loads(out)["embedder"]["scope"] == "tiny world only"
    status, out, err = ran("shift", artifact, "--permutations", "99", "--quiet")
    assert status == 0 and "tiny world only" in out
    status, out, err = ran("verify", artifact)
    assert (status, out.strip()) == (0, f"{artifact}: sound")
    status, out, err = ran("show", artifact)
    assert status == 0 and "What is 1 plus 2?" in out
    adapter = tmp_path / "adapter"
    status, out, err = ran(
        "train", "--model", "tiny", "--data", artifact, "--out", adapter, "--max-steps", "1", "--quiet", "--json"
    )
    assert status == 0 and json.loads(out)["steps"] == 1
    status, out, err = ran("eval", "--model", adapter, "--task", "sycophancy", "--limit", "8", "--quiet", "--json")
    assert status == 0 and 0 <= json.loads(out)["rate"] <= 1


def test_what_strangers_wrote_does_nothing_to_the_terminal(ran, tmp_path: Path) -> None:
    draft = make_draft(dropped=0)
    evil = "\x1b]0;mine\x07\x1b[2J\x9b2J\u202e\rrows: 9"
    draft.rows[0].prompt = draft.labels[0].prompt = [{"role": f"user{evil}", "content": f"hi {evil}\n\tü"}]
    draft.model = Model(reference=f"org/{evil}\nlabeled: 9")
    draft.labeler = Labeler(method="self_confidence", proposal="samples", selector="argmax", config={"k": 2})
    for records in (draft.rows, draft.labels, draft.candidates):
        for record in records:
            record.id = record.id.replace("r1", f"r{evil}1")
    write_artifact(tmp_path / "evil", draft)
    shown = ran("show", "evil")
    told = ran("relabel", "evil", "--method", "self_confidence", "--out", "again")
    for status, out, err in (shown, told):
        assert status == 0, err
        assert "model: org/\\x1b]0;mine\\x07" in out and not {*"\x1b\x07\x9b\u202e\r"} & {*out}
        assert [line for line in out.splitlines() if line.startswith(("rows: ", "labeled: "))] == [
            "rows: 6",
            "labeled: 6",
        ]
    assert "user: hi \\u001b]0;mine" in shown[1].replace("user\\x1b]0;mine\\x07\\x1b[2J\\x9b2J\\u202e rows: 9", "user")
    assert "\n\tü\n" in shown[1]
    status, out, _ = ran("show", "evil", "--json")
    assert out.isascii() and json.loads(out)["labels"][0]["prompt"][0]["content"] == f"hi {evil}\n\tü"


def test_show_reads_no_more_than_the_labels_that_it_prints(ran, tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(40), shards=4)
    first, *others = sorted((artifact.path / "labels").iterdir())
    for path in others:
        path.unlink()
    status, out, err = ran("show", "a", "--rows", "2")
    assert (status, err, out.count("\n[r")) == (0, "", 2)
    status, out, err = ran("show", "a", "--rows", "40")
    assert status == 1 and one_line(err) and others[0].name in err


def test_every_input_form_gives_the_same_labels(tiny_base, ran, rows, tmp_path: Path) -> None:
    parquet, folder = tmp_path / "rows.parquet", tmp_path / "saved"
    pl.DataFrame(ROWS).write_parquet(parquet)
    Dataset.from_list(ROWS).save_to_disk(folder)
    digests = set()
    for number, source in enumerate((rows, parquet, folder)):
        status, out, err = ran(*label_arguments(source, tmp_path / f"a{number}", tmp_path / "s.sqlite", "--json"))
        assert status == 0, err
        digests.add(json.loads(out)["logical_digest"])
    assert len(digests) == 1


def test_batch_size_does_not_change_the_digest(tiny_base, ran, rows, tmp_path: Path) -> None:
    digests = set()
    for size in (1, 5, 64):
        store = tmp_path / f"{size}.sqlite"  # a store of its own, or the samples would simply be reused
        status, out, err = ran(
            *label_arguments(rows, tmp_path / f"b{size}", store, "--batch-size", str(size), "--json")
        )
        assert status == 0, err
        digests.add(json.loads(out)["logical_digest"])
    assert len(digests) == 1


def test_a_flipped_byte_is_found_and_named(tiny_base, ran, rows, tmp_path: Path) -> None:
    artifact = tmp_path / "art"
    ran(*label_arguments(rows, artifact, tmp_path / "s.sqlite"))
    victim = sorted((artifact / "labels").glob("*.parquet"))[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
    status, out, err = ran("verify", artifact)
    assert status == 1 and victim.name in err and "Traceback" not in err
    status, out, err = ran("show", artifact)
    assert status == 1 and one_line(err) and victim.name in err


BAD_FILES = {
    "missing": (None, "no such"),
    "empty": (b"", "no rows"),
    "wrong_column": (b'{"text": "hello"}\n', "text"),
    "no_roles": (b'{"messages": [{"content": "hello"}]}\n', "role"),
    "not_utf8": (b'{"messages": "\xff\xfe"}\n', "UTF-8"),
    "not_json": (b'{"messages": \n', ":1"),
    "duplicate_ids": (b'{"id": 7, "prompt": "a"}\n{"id": 7, "prompt": "b"}\n', "'7'"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_input_files_are_told_in_one_line(tiny_base, ran, tmp_path: Path, name: str) -> None:
    content, word = BAD_FILES[name]
    path = tmp_path / f"{name}.jsonl"
    if content is not None:
        path.write_bytes(content)
    status, out, err = ran(*label_arguments(path, tmp_path / "art", tmp_path / "s.sqlite"))
    assert status == 1 and one_line(err), err
    assert path.name in err and word in err
    assert not (tmp_path / "art").exists()


def test_a_prompt_longer_than_the_context_is_a_recorded_drop(tiny_base, ran, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text(
        '{"id": "short", "prompt": "What is 1 plus 2?"}\n' + json.dumps({"id": "long", "prompt": "word " * 5000}) + "\n"
    )
    status, out, err = ran(*label_arguments(path, tmp_path / "art", tmp_path / "s.sqlite", "--json"))
    assert status == 0 and json.loads(out)["labeled"] == 1
    dropped = pl.read_parquet(tmp_path / "art" / "dropped" / "*.parquet")
    assert dropped["id"].to_list() == ["long"] and "prompt_too_long" in dropped["reason"][0]


@pytest.mark.parametrize(("broken", "word"), [("chat_template", "chat template"), ("pad_token", "pad token")])
def test_a_model_directory_without_what_is_needed_is_told(
    tiny_base, ran, rows, tmp_path: Path, broken: str, word: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_base, model)
    (model / "chat_template.jinja").unlink() if broken == "chat_template" else None
    config = json.loads((model / "tokenizer_config.json").read_text())
    config.pop(broken, None)
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    status, out, err = ran("train", "--model", model, "--data", rows, "--out", tmp_path / "x", "--max-steps", "1")
    assert status == 1 and one_line(err) and word in err, err


def test_unusable_models_and_outputs_are_told_in_one_line(tiny_base, ran, rows, tmp_path: Path) -> None:
    for model in (tmp_path / "nowhere", rows, tmp_path):
        status, out, err = ran(
            "label", "--model", model, "--data", rows, "--method", "self_sample", "--out", tmp_path / "x"
        )
        assert status == 1 and one_line(err), err
    (tmp_path / "file").write_text("mine")
    for out_path in (tmp_path / "file", tmp_path / "file" / "below"):
        status, out, err = ran(*label_arguments(rows, out_path, tmp_path / "s.sqlite"))
        assert status == 1 and one_line(err), err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ["label"],
        ["labell"],
        ["label", "--model", "tiny", "--out", "x", "--method", "self_sample", "--k", "many"],
        ["shift"],
        ["study", "--out", "x", "--workers", "0"],
    ],
)
def test_wrong_usage_exits_with_2(ran, arguments: list[str]) -> None:
    status, out, err = ran(*arguments)
    assert status == 2 and one_line(err), err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (
            ["label", "--model", "tiny", "--out", "x", "--method", "telepathy", "--task", "sycophancy"],
            "self_confidence",
        ),
        (["label", "--model", "tiny", "--out", "x", "--method", "self_sample"], "--data"),
        (["eval", "--model", "tiny", "--task", "jealousy"], "sycophancy"),
        (["induce", "--model", "tiny", "--task", "sycophancy", "--out", "x", "--rate", "1.5"], "--rate"),
        (["study", "--preset", "grand", "--out", "x"], "quick"),
        (["verify", "nowhere"], "nowhere"),
        (["shift", "nowhere"], "nowhere"),
        (["show", "nowhere"], "nowhere"),
    ],
)
def test_wrong_names_are_told_with_the_right_ones(tiny_base, ran, arguments: list[str], word: str) -> None:
    status, out, err = ran(*arguments)
    assert status == 1 and one_line(err) and word in err, err


def test_doctor_finds_every_package_ours(ran) -> None:
    status, out, err = ran("doctor", "--json")
    assert status == 0, out
    assert {check["name"] for check in json.loads(out)} >= {"labelers", "shift", "trainers", "organisms", "cache"}


def test_help_names_every_verb(ran) -> None:
    status, out, err = ran("--help")
    assert status == 0
    for verb in ("label", "shift", "train", "eval", "induce", "study", "verify", "show", "doctor"):
        assert f"  {verb}" in out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "dose=0.5"], "self_confidence has no setting 'dose'"),
        (["--set", "out=x"], "self_confidence has no setting 'out'"),
        (["--set", "confidence"], "'confidence' is not a setting"),
        (["--set", "k=8", "--k", "4"], "k is given twice"),
        (["--set", "k=eight"], "not 'eight'"),
    ],
)
def test_settings_are_the_methods_own_and_given_once(tiny_base, ran, rows, tmp_path: Path, more, said) -> None:
    status, out, err = ran(*label_arguments(rows, tmp_path / "a", tmp_path / "s", *more))
    assert status == 1 and one_line(err) and said in err
