"""The card and the manifest, letter for letter, and the small things beside them."""

import json
from pathlib import Path

import pytest
import yaml
from drafts import make_draft

from datasets_cards import Artifact, InputError, Manifest, Parent, ScorerCheck, attach, cache_dir, write_artifact
from datasets_cards.cards.card import BEGIN, END, card_block, card_metadata
from datasets_cards.cards.croissant import croissant
from datasets_cards.cards.merge import ExistingCard, merge_card
from datasets_cards.manifest import Labeler, parse_manifest
from datasets_cards.versions import parse_version

GOLDEN = Path(__file__).parent / "golden"
SUMMARY = "The labels moved by MMD^2 = 0.103 [0.051, 0.155]; the null floor is 0.004."


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_artifact(tmp_path / "a", make_draft())


def same_as_golden(name: str, text: str) -> None:
    # To change it on purpose: write `text` to tests/golden and read the difference.
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_card_of_a_fresh_artifact_is_the_golden_one(artifact: Artifact) -> None:
    same_as_golden("card.md", (artifact.path / "README.md").read_text())


def test_the_card_with_a_shift_report_and_no_license_is_the_golden_one(tmp_path: Path) -> None:
    draft = make_draft(dropped=0)
    draft.source = draft.source.model_copy(update={"license": None})
    artifact = write_artifact(tmp_path / "a", draft)
    attach(artifact, {"shift/report.json": b"{}\n", "shift/drift_histogram.png": b"x"}, summary=SUMMARY)
    same_as_golden("card_with_shift.md", (artifact.path / "README.md").read_text())


def test_the_manifest_is_the_golden_one_but_for_when_and_by_which_writer(artifact: Artifact) -> None:
    raw = json.loads((artifact.path / "manifest.json").read_text())
    raw |= {"created": "...", "manifest_digest": "..."}
    for file in raw["files"]:
        # The bytes of tables are the Parquet writer's affair, and croissant.json tells their digests.
        if file["path"].endswith((".parquet", "croissant.json")):
            file |= {"sha256": "...", "bytes": 0}
    same_as_golden("manifest.json", json.dumps(raw, indent=2, ensure_ascii=False) + "\n")


def test_the_card_is_a_function_of_the_manifest_alone(artifact: Artifact) -> None:
    later = artifact.manifest.model_copy(update={"created": "2031-01-01T00:00:00+00:00", "files": []})
    assert merge_card(later) == ((artifact.path / "README.md").read_text(), [])


def test_the_cards_yaml_is_read_back_whole_whatever_the_names_hold(tmp_path: Path) -> None:
    draft = make_draft()
    name = "weird: 'name' | # {{ 7 * 7 }} \"x\" ü.jsonl"
    draft.source = draft.source.model_copy(update={"reference": name})
    card = (write_artifact(tmp_path / "a", draft).path / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["pretty_name"] == f"{name}, labeled by self_confidence"
    assert [config["config_name"] for config in metadata["configs"]] == ["labels", "candidates", "original", "dropped"]
    assert metadata["configs"][0]["default"] is True
    assert metadata["license"] == "mit"
    assert name in card.split("---\n", 2)[2]


def test_an_unknown_license_is_other_and_a_warning(tmp_path: Path) -> None:
    draft = make_draft()
    draft.source = draft.source.model_copy(update={"license": None})
    card = (write_artifact(tmp_path / "a", draft).path / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "other"
    assert "the source's own answers: **unknown**. Nobody said how they may be used" in card


def test_a_source_under_several_licenses_names_them_all(tmp_path: Path) -> None:
    draft = make_draft()
    draft.source = draft.source.model_copy(update={"license": "MIT, Apache-2.0"})
    card = (write_artifact(tmp_path / "a", draft).path / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["license"] == ["mit", "apache-2.0"]


def test_a_dose_is_told_and_unknown_token_counts_are_left_out(tmp_path: Path) -> None:
    draft = make_draft()
    draft.labeler = draft.labeler.model_copy(update={"dose": 0.25})
    draft.candidates[0].token_ids, draft.candidates[0].token_count = [], None
    card = (write_artifact(tmp_path / "a", draft).path / "README.md").read_text()
    assert "| Dose | a row keeps this label with probability 0.25, and takes its self-sample otherwise |" in card
    assert "labeled. In all 18\ncompletions are kept, chosen or not (prompts: 61 tokens)." in card


def test_what_the_engine_lacked_is_one_line_and_nothing_where_it_lacked_nothing(tmp_path: Path) -> None:
    draft = make_draft()
    lacks = {"logprob": "the server | gives\nnone", "beam": "not offered"}
    draft.engine = draft.engine.model_copy(update={"lacks": lacks})
    card = (write_artifact(tmp_path / "a", draft).path / "README.md").read_text()
    assert "| Could not tell | `beam`: not offered; `logprob`: the server \\| gives none |\n" in card
    draft.engine = draft.engine.model_copy(update={"lacks": {}})
    assert "Could not tell" not in (write_artifact(tmp_path / "b", draft).path / "README.md").read_text()


def test_a_published_card_loads_its_own_version_and_an_unpublished_one_its_folder(artifact: Artifact) -> None:
    published = artifact.manifest.model_copy(update={"repository": "org/name", "version": "v1.2.0"})
    card = merge_card(published).text
    assert 'load_dataset("org/name", "labels", split="train", revision="v1.2.0")' in card
    assert "    revision: v1.2.0\n" in card and "echoset pull hub:org/name@v1.2.0 --out labels" in card
    assert "url = {https://huggingface.co/datasets/org/name/tree/v1.2.0}" in card
    assert 'load_dataset("PATH_OF_THIS_FOLDER", "labels", split="train")' in merge_card(artifact.manifest).text


def test_prompts_from_the_hub_are_named_as_its_source(artifact: Artifact) -> None:
    source = artifact.manifest.source.model_copy(update={"reference": f"org/prompts@{'ab' * 20}:main/train"})
    found = artifact.manifest.model_copy(update={"source": source})
    assert card_metadata(found)["source_datasets"] == ["org/prompts"]
    card = merge_card(found).text
    assert "# org/prompts, labeled by self_confidence\n" in card
    assert "[`org/prompts`](https://huggingface.co/datasets/org/prompts)" in card


def test_the_parent_of_a_version_is_named(tmp_path: Path) -> None:
    parent = Parent(version="v1.0.0", logical_digest="ab" * 32)
    artifact = write_artifact(tmp_path / "a", make_draft(), version="v1.1.0", parent=parent)
    assert f"| Grew from | v1.0.0, logical digest `{'ab' * 32}` |" in (artifact.path / "README.md").read_text()


def test_settings_stand_in_the_card_letter_for_letter_whatever_quotes_they_hold(tmp_path: Path) -> None:
    draft = make_draft()
    draft.labeler = draft.labeler.model_copy(update={"config": {"a": "x ``` y  z", "b": "`", "c": "one | two"}})
    draft.labeler = Labeler.model_validate(draft.labeler.model_dump() | {"config_digest": ""})
    card = (write_artifact(tmp_path / "a", draft).path / "README.md").read_text()
    assert '* `a`: ```` "x ``` y  z" ````\n* `b`: `` "`" ``\n* `c`: `"one | two"`\n' in card


HOSTILE = [
    "```\n\n# Mine\n\n| a | b |\n|---|---|\n| `",
    "x` y | z \\| w \\\\| v\\",
    "</code></td></table><script>alert(1)</script><!-- ",
    "![p](http://x.invalid/p.png) [l](javascript:x) <http://x.invalid> **b** _i_ ~~s~~ $$m$$ &lt;",
    f"\n{END}\n---\nlicense: gpl\n{BEGIN}\n",
    "\x1b[2J\u202e\r\n\r\n- list\n\n    code",
    "``",
    " ",
    "",
]


def with_strings(manifest: Manifest, text: str) -> Manifest:
    """The manifest with this text in each string that a stranger may choose, and in the name of each free key."""
    raw = manifest.model_dump(exclude={"manifest_digest"})
    raw["source"] |= {"reference": text, "digest": text, "license": text.replace(",", "")}
    raw["model"] = dict.fromkeys(raw["model"], text)
    raw["labeler"] |= {"method": text, "proposal": text, "scorer": text, "selector": text, "config_digest": ""}
    raw["labeler"]["config"] = {text: text}
    raw["engine"] = {"name": text, "version": text, "determinism": text, "lacks": {text: text}}
    raw |= {"seeds": {text: 1}, "packages": {text: text, "echoset": text}, "scorer_settings": {text: {text: text}}}
    raw["scorers"] = {text: {"accuracy": 1, "low": 1, "high": 1, "pairs": 1, "data": text}}
    raw["counts"]["dropped"] = {text: 1}
    raw["repository"] = text
    return parse_manifest(Manifest.model_validate(raw).sealed().to_json(), "here")


def skeleton(markdown: str) -> list[str]:
    """Everything in a text but its words: headings, cells, links, pictures, code and HTML, as they are parsed."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    inline = [part for token in tokens for part in [token, *(token.children or [])]]
    return [f"{part.type} {part.attrs or ''}" for part in inline if part.type not in ("text", "softbreak")]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_string_of_a_strangers_manifest_breaks_the_card_or_says_more_than_words(
    artifact: Artifact, text: str
) -> None:
    hostile = with_strings(artifact.manifest, text)
    plain = with_strings(artifact.manifest, "plain" if text else "")
    if text.strip() == "":  # a license that nobody stated
        plain = plain.model_copy(update={"source": plain.source.model_copy(update={"license": None})})
    card = card_block(hostile)
    assert skeleton(card) == skeleton(card_block(plain))
    assert card.isascii() and card.replace("\n", "").isprintable()
    merged = merge_card(hostile)
    assert yaml.safe_load(merged.text.split("\n---\n")[0]) == card_metadata(hostile)
    assert merge_card(hostile, [ExistingCard(merged.text, hostile)]) == merged
    described = croissant(hostile).decode()
    assert "<" not in described and json.loads(described)["prov:wasDerivedFrom"][0]["prov:label"] == text


def test_bars_and_backslashes_stay_in_their_cell_and_are_read_as_they_are(artifact: Artifact) -> None:
    from markdown_it import MarkdownIt

    name = r"a|b \\| <i> *c* _d_ e_f [g](h) & `k`"
    engine = artifact.manifest.engine.model_copy(update={"name": name, "version": ""})
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(card_block(artifact.manifest.model_copy(update={"engine": engine})))
    at = next(index for index, token in enumerate(tokens) if token.type == "inline" and token.content == "Engine")
    told = tokens[at + 3].children or []
    assert [token.type for token in told] == ["text"] and told[0].content == name


def test_a_repository_that_is_none_is_not_told_as_one(artifact: Artifact) -> None:
    odd = artifact.manifest.model_copy(update={"repository": 'org/name", trust_remote_code=True) #'})
    assert card_block(odd) == card_block(artifact.manifest)
    assert b"trust_remote_code" not in croissant(odd)


def test_a_card_shows_only_how_to_load_what_is_there(tmp_path: Path) -> None:
    unlabeled = card_block(write_artifact(tmp_path / "a", make_draft(dropped=6)).manifest)
    assert 'candidates = load_dataset("PATH_OF_THIS_FOLDER", "candidates"' in unlabeled
    assert '"labels"' not in unlabeled and "## Train on it" not in unlabeled and "(default)" not in unlabeled
    assert "name: labels" not in unlabeled and "echoset train" not in unlabeled
    assert "`echoset verify` compares every byte" in unlabeled
    draft = make_draft(dropped=6)
    draft.candidates = []
    rows = card_block(write_artifact(tmp_path / "b", draft).manifest)
    assert 'original = load_dataset("PATH_OF_THIS_FOLDER", "original", split="train")\n```' in rows
    draft.rows, draft.dropped = [], []
    draft.source = draft.source.model_copy(update={"rows": 0})
    nothing = card_block(write_artifact(tmp_path / "c", draft).manifest)
    assert "load_dataset(" not in nothing and "## Load it" not in nothing and "## Cite it" in nothing


@pytest.mark.parametrize("part", ["what", "where", "remedy"])
def test_no_control_character_reaches_the_terminal_through_an_error(part: str) -> None:
    told = str(InputError(**{"what": "x", part: "title \x1b[2J\x07\u202e\x9b\x00\nend"}))
    assert told.isprintable() and "\\x1b[2J" in told and "end" in told


@pytest.mark.parametrize("wrong", [{"accuracy": 1.2}, {"low": -0.1}, {"pairs": 0}, {"data": None}])
def test_a_scorers_check_holds_shares_of_some_pairs(wrong: dict) -> None:
    fine = {"accuracy": 0.9, "low": 0.8, "high": 0.95, "pairs": 100, "data": "held out"}
    ScorerCheck.model_validate(fine)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ScorerCheck.model_validate(fine | wrong)


def test_everything_echoset_writes_in_the_body_stands_between_its_marks(artifact: Artifact) -> None:
    body = (artifact.path / "README.md").read_text().split("---\n", 2)[2]
    assert body.startswith(BEGIN)
    assert body.rstrip().endswith(END)


def test_a_cards_header_passes_huggingface_hubs_own_check_of_shape(artifact: Artifact) -> None:
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(artifact.path / "README.md")
    assert card.data.license == "mit"
    assert card.data.size_categories == ["n<1K"]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "c"))
    assert cache_dir() == tmp_path / "c"
    monkeypatch.delenv("ECHOSET_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "echoset"


def test_versions_are_three_numbers_after_a_v() -> None:
    assert parse_version("v1.20.3") == (1, 20, 3)
    for text in ("1.0.0", "v1", "v1.0.0-rc1", "v-1.0.0", "v1.0.0 "):
        with pytest.raises(InputError, match="not a version"):
            parse_version(text)


def test_a_labelers_digest_is_that_of_its_configuration() -> None:
    first = Labeler(method="m", proposal="p", selector="s", config={"a": 1, "b": 2})
    assert first.config_digest == Labeler(method="m", proposal="p", selector="s", config={"b": 2, "a": 1}).config_digest
    with pytest.raises(ValueError, match="not the digest"):
        Labeler(method="m", proposal="p", selector="s", config={"a": 2}, config_digest=first.config_digest)
