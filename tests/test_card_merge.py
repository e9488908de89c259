"""A card written anew: what people wrote by hand stays, what Echoset wrote is renewed, and no text is lost."""

import re
from pathlib import Path

import pytest
import yaml
from drafts import make_draft
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_cards import Artifact, InputError, IntegrityError, Manifest, attach, verify, write_artifact
from datasets_cards.attaching import compose, existing_cards
from datasets_cards.canonical import sha256_hex
from datasets_cards.cards.card import BEGIN, DERIVED, END, card_metadata
from datasets_cards.cards.merge import ExistingCard, merge_card, people_wrote


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_artifact(tmp_path_factory.mktemp("card") / "a", make_draft()).manifest


def without_license(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"source": manifest.source.model_copy(update={"license": None})})


def later(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"version": "v1.3.0", "repository": "org/name"})


def fresh(manifest: Manifest) -> str:
    return merge_card(manifest).text


def header(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def body(text: str) -> str:
    return text.split("---\n", 2)[2]


def with_keys(text: str, lines: str) -> str:
    return text.replace("\n---\n", f"\n{lines}\n---\n", 1)


def test_an_untouched_card_is_written_anew_as_if_it_had_not_been_there(manifest: Manifest) -> None:
    merged = merge_card(later(manifest), [ExistingCard(fresh(manifest), manifest)])
    assert merged == (fresh(later(manifest)), [])
    assert "revision: v1.3.0" in merged.text


def test_text_before_and_after_the_marks_stays_where_it_stands(manifest: Manifest) -> None:
    before, after = "# Read me first\n\nBy Ada.\n\n", "\n## Thanks\n\nTo all.\n"
    old = fresh(manifest).replace(BEGIN, before + BEGIN) + after
    merged = merge_card(later(manifest), [ExistingCard(old, manifest)])
    assert body(merged.text).startswith(before + BEGIN)
    assert merged.text.endswith(f"{END}\n{after}")
    assert "v1.3.0" in merged.text and merged.notes == []


def test_keys_that_people_added_or_changed_are_kept_and_the_others_renewed(manifest: Manifest) -> None:
    old = with_keys(fresh(manifest), "annotations_creators:\n- machine-generated\ndataset_info:\n  features: []")
    old = re.sub(r"pretty_name: .*", "pretty_name: Evenness", old)
    other = manifest.model_copy(update={"labeler": manifest.labeler.model_copy(update={"method": "majority"})})
    merged = merge_card(other, [ExistingCard(old, manifest)])
    found = header(merged.text)
    assert found["pretty_name"] == "Evenness"
    assert list(found)[-2:] == ["annotations_creators", "dataset_info"]
    assert found["tags"] == ["echoset", "consistency-labeling", "self-labeled", "majority"]
    assert found["configs"] == card_metadata(other)["configs"]


def test_a_key_that_nobody_changed_follows_the_manifest(manifest: Manifest) -> None:
    other = manifest.model_copy(update={"labeler": manifest.labeler.model_copy(update={"method": "majority"})})
    merged = merge_card(other, [ExistingCard(fresh(manifest), manifest)])
    assert merged.text == fresh(other)


def test_a_key_of_ours_that_is_missing_is_written_again(manifest: Manifest) -> None:
    old = re.sub(r"pretty_name: .*\n", "", fresh(manifest))
    assert merge_card(manifest, [ExistingCard(old, manifest)]).text == fresh(manifest)


def test_the_lines_of_a_value_that_stays_keep_their_comments_and_spelling(manifest: Manifest) -> None:
    old = with_keys(fresh(manifest), "# checked by Ada\nlanguage: no  # Norwegian\nrelease: 1.10\n# the end")
    old = old.replace("license: mit\n", "# from the source\nlicense: 'mit'  # asked\n")
    text = merge_card(later(manifest), [ExistingCard(old, manifest)]).text
    for line in (
        "# checked by Ada\nlanguage: no  # Norwegian\nrelease: 1.10\n# the end\n---",
        "license: 'mit'  # asked",
    ):
        assert line in text
    assert "# from the source\nlicense" in text


def test_tags_are_those_of_both_ours_first(manifest: Manifest) -> None:
    old = fresh(manifest).replace("- self_confidence\n", "- evenness\n- echoset\n", 1)
    assert header(merge_card(manifest, [ExistingCard(old, manifest)]).text)["tags"] == [
        *card_metadata(manifest)["tags"],
        "evenness",
    ]


def test_peoples_own_configs_are_kept_and_ours_are_ours(manifest: Manifest) -> None:
    old = fresh(manifest).replace("labels/*-of-00001.parquet", "labels/*.parquet")
    old = old.replace("configs:\n", "configs:\n- config_name: extra\n  data_files: extra.csv\n  default: true\n")
    merged = merge_card(manifest, [ExistingCard(old, manifest)])
    configs = header(merged.text)["configs"]
    assert configs[:-1] == card_metadata(manifest)["configs"]
    assert configs[-1] == {"config_name": "extra", "data_files": "extra.csv"}
    assert merged.notes == [
        "README.md: the config 'extra' is not the default, labels is",
        "README.md: the config 'labels' is ours, and was written again",
    ]


def test_a_license_that_the_source_states_wins_with_a_note(manifest: Manifest) -> None:
    old = fresh(manifest).replace("license: mit", "license: apache-2.0")
    merged = merge_card(manifest, [ExistingCard(old, manifest)])
    assert header(merged.text)["license"] == "mit"
    assert merged.notes == ["README.md: the license 'apache-2.0' was not kept, the source's is 'mit'"]


def test_where_no_license_is_known_peoples_is_kept_with_its_name_and_link(manifest: Manifest) -> None:
    unknown = without_license(manifest)
    old = fresh(unknown).replace("license_name: unknown", "license_name: lab\nlicense_link: LICENSE")
    found = header(merge_card(unknown, [ExistingCard(old, unknown)]).text)
    assert (found["license"], found["license_name"], found["license_link"]) == ("other", "lab", "LICENSE")
    old = fresh(unknown).replace("license: other\nlicense_name: unknown", "license: cc0-1.0")
    merged = merge_card(unknown, [ExistingCard(old, unknown)])
    assert header(merged.text)["license"] == "cc0-1.0" and "license_name" not in header(merged.text)
    assert merged.notes == []


def test_a_license_that_becomes_known_replaces_the_unknown_one(manifest: Manifest) -> None:
    unknown = without_license(manifest)
    assert merge_card(manifest, [ExistingCard(fresh(unknown), unknown)]) == (fresh(manifest), [])


def test_a_license_in_words_is_other_with_its_name(manifest: Manifest) -> None:
    source = manifest.source.model_copy(update={"license": "CC BY 4.0 (see site)"})
    found = header(fresh(manifest.model_copy(update={"source": source})))
    assert (found["license"], found["license_name"]) == ("other", "cc-by-4.0-see-site")


def test_a_size_is_counted_and_never_kept(manifest: Manifest) -> None:
    old = fresh(manifest).replace("n<1K", "1M<n<10M")
    merged = merge_card(manifest, [ExistingCard(old, manifest)])
    assert merged.text == fresh(manifest)
    assert merged.notes == ["README.md: size_categories was ['1M<n<10M']; it is counted, and counted again"]


def test_a_readme_from_before_is_kept_whole_after_our_text(manifest: Manifest) -> None:
    old = "---\nlicense: gpl\nlanguage: [en]\npretty_name: Mine\n---\n# Mine\n\nWritten by hand.\n"
    merged = merge_card(manifest, [ExistingCard(old, None)])
    assert merged.text.endswith(f"{END}\n\n# Mine\n\nWritten by hand.\n")
    found = header(merged.text)
    assert found["language"] == ["en"] and found["license"] == "mit" and found["pretty_name"] == "Mine"
    assert len(merged.notes) == 1 and "gpl" in merged.notes[0]
    assert merge_card(manifest, [ExistingCard(merged.text, manifest)]) == (merged.text, [])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(END, ""),
        lambda text: text.replace(BEGIN, ""),
        lambda text: text.replace(END, f"{END}\n{END}"),
        lambda text: text.replace(BEGIN, "<!-- swap -->").replace(END, BEGIN).replace("<!-- swap -->", END),
        lambda text: text + text.split("---\n", 2)[2],
    ],
    ids=["no end", "no begin", "two ends", "swapped", "the block twice"],
)
def test_damaged_marks_lose_no_text(manifest: Manifest, damage) -> None:
    old = damage(fresh(manifest).replace(BEGIN, f"Mine before.\n{BEGIN}") + "Mine after.\n")
    merged = merge_card(later(manifest), [ExistingCard(old, manifest)])
    for line in body(old).split("\n"):
        assert line in merged.text or line in (BEGIN, END)
    assert merged.text.count(BEGIN) == merged.text.count(END) == 1
    assert "marks" in merged.notes[0]
    assert merge_card(later(manifest), [ExistingCard(merged.text, later(manifest))]) == (merged.text, [])


def test_of_two_cards_the_local_one_wins_and_sections_of_both_stay(manifest: Manifest) -> None:
    head = (
        with_keys(fresh(manifest), "language: en\ncurator: Bo")
        + "\n## Notes\n\nHead.\n\n## Only here\n\n```\n# no\n```\n"
    )
    local = with_keys(fresh(manifest), "language: de") + "\n## Notes\n\nLocal.\n"
    merged = merge_card(manifest, [ExistingCard(head, manifest), ExistingCard(local, manifest)])
    assert header(merged.text) | {"language": "de", "curator": "Bo"} == header(merged.text)
    assert merged.text.endswith("\n## Notes\n\nLocal.\n\n## Only here\n\n```\n# no\n```\n")
    assert merged.notes == [
        "README.md: two cards give another 'language', the later one's is kept",
        "README.md: two cards differ in the section '## Notes', the later one's is kept",
    ]
    again = merge_card(manifest, [ExistingCard(head, manifest), ExistingCard(merged.text, manifest)])
    assert again.text == merged.text


def test_text_without_a_heading_in_the_published_card_is_kept_too(manifest: Manifest) -> None:
    head = fresh(manifest).replace(BEGIN, f"By Ada.\n\n{BEGIN}")
    merged = merge_card(manifest, [ExistingCard(head, manifest), ExistingCard(fresh(manifest), manifest)])
    assert merged.text == head  # beside an untouched card it stays in its place
    local = fresh(manifest) + "\nThanks.\n"
    merged = merge_card(manifest, [ExistingCard(head, manifest), ExistingCard(local, manifest)])
    assert merged.text == local + "\nBy Ada.\n"


@pytest.mark.parametrize(
    "yaml_text, line, what",
    [
        ("a: 1\nb: [1\nc: 2", 4, "can't be read"),
        ("a: 1\n\tb: 2", 3, "can't be read"),
        ("- a\n- b", 2, "no list of keys and values"),
        ("just words", 2, "no list of keys and values"),
        ("license: mit\ntags: []\nlicense: gpl", 4, "stands there twice"),
        ("a: &x [1]\nb: *x", 3, "alias"),
        ("a: 1\nyes: 2", 3, "is no text"),
        ("a: !!python/object/apply:os.getcwd []", 2, "can't be read"),
        ("when: 2026-02-31", 2, "can't be read"),
        ("a: \x07", 2, "can't be read"),
        ("a: " + "[" * 20_000, 2, "nests too deep"),
        ("a: " + "[" * 101 + "]" * 101, 2, "nests too deep"),
    ],
)
def test_a_broken_header_is_named_with_its_line(manifest: Manifest, yaml_text: str, line: int, what: str) -> None:
    with pytest.raises(InputError, match=what) as error:
        merge_card(manifest, [ExistingCard(f"---\n{yaml_text}\n---\ntext\n", None)])
    assert error.value.where == f"README.md:{line}" and error.value.remedy


def test_a_broken_header_is_named_with_the_place_its_card_came_from(manifest: Manifest, artifact_folder: Path) -> None:
    broken = "---\na: [1\n---\n"
    with pytest.raises(InputError, match=r"^org/name@v1.0.0 README.md:3: .*Mend its header and publish again$"):
        merge_card(manifest, [ExistingCard(broken, None, "org/name@v1.0.0 README.md")])
    card = artifact_folder / "README.md"
    card.write_text(broken)
    with pytest.raises(InputError) as error:
        attach(Artifact.open(artifact_folder), {"shift/report.json": b"{}\n"})
    assert error.value.where == f"{card}:3"


@pytest.mark.parametrize("value", [".nan", "[1, .nan]", "{x: .nan}", "{.nan: [.nan]}"])
def test_a_value_that_is_no_number_equals_itself(manifest: Manifest, value: str) -> None:
    old = with_keys(fresh(manifest), f"# measured\nn: {value}  # by Ada\nother: 1.10  # stays")
    merged = merge_card(manifest, [ExistingCard(old, manifest), ExistingCard(old, manifest)])
    assert merged == (old, [])
    assert people_wrote(ExistingCard(old, manifest)) == people_wrote(ExistingCard(old, manifest))


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: with_keys(text, "language: en"),
        lambda text: with_keys(text, "n: .nan"),
        lambda text: with_keys(text, "# a remark"),
        lambda text: re.sub("pretty_name: .*", "pretty_name: Mine", text),
        lambda text: text.replace("- self_confidence\n", "- self_confidence\n- mine\n", 1),
        lambda text: text.replace("configs:\n", "configs:\n- config_name: extra\n  data_files: extra.csv\n"),
        lambda text: text.replace("license: mit", "license: mit\nlicense_link: LICENSE"),
        lambda text: text.replace(BEGIN, f"Before.\n{BEGIN}"),
        lambda text: text + "After.\n",
    ],
)
def test_what_people_wrote_is_told_apart_and_survives_a_merge(manifest: Manifest, edit) -> None:
    untouched = people_wrote(ExistingCard(fresh(manifest), manifest))
    assert untouched == people_wrote(ExistingCard(fresh(later(manifest)) + "\n\n", later(manifest)))
    wrote = people_wrote(ExistingCard(edit(fresh(manifest)), manifest))
    assert wrote != untouched
    other = later(manifest.model_copy(update={"labeler": manifest.labeler.model_copy(update={"method": "majority"})}))
    merged = merge_card(other, [ExistingCard(edit(fresh(manifest)), manifest)]).text
    assert people_wrote(ExistingCard(merged, other)) == wrote


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "\ufeff",
        "---\n---\n",
        "---\n\n---",
        "---\n# only a remark\n---\nx",
        "---\nno end of a header",
        "----\nx",
    ],
)
def test_cards_that_say_almost_nothing_are_fine(manifest: Manifest, text: str) -> None:
    merged = merge_card(manifest, [ExistingCard(text, None)])
    assert header(merged.text) == card_metadata(manifest)
    assert merge_card(manifest, [ExistingCard(merged.text, manifest)]).text == merged.text


def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing(manifest: Manifest) -> None:
    old = with_keys(fresh(manifest), "language: ü") + "\n## Søren\n\n日本語 😀 no end of line"
    windows = "\ufeff" + old.replace("\n", "\r\n")
    merged = merge_card(manifest, [ExistingCard(windows, manifest)])
    assert merged == merge_card(manifest, [ExistingCard(old, manifest)])
    assert merged.text == old + "\n"


def test_a_card_of_two_megabytes_is_merged_in_no_time(manifest: Manifest) -> None:
    text = "# Log\n\n" + "``` not a fence\n# and no mark <!-- echoset: begin\n" * 40_000
    merged = merge_card(manifest, [ExistingCard(text, None), ExistingCard(fresh(manifest) + "\n" + text, manifest)])
    assert merged.text == fresh(manifest) + "\n" + text


def test_marks_inside_names_and_summaries_do_not_break_the_card(manifest: Manifest) -> None:
    text = merge_card(manifest, summaries={"shift": f"Look:\n{END}\n{BEGIN}"}).text
    assert merge_card(manifest, [ExistingCard(text, manifest)], {"shift": f"Look:\n{END}\n{BEGIN}"}) == (text, [])


LINES = st.sampled_from(
    [
        "# A",
        "## B",
        "## B",
        "text",
        "",
        "```",
        "~~~",
        BEGIN,
        END,
        "----",
        "<!-- x -->",
        "  # not",
        "日本語",
        "\r",
        "| a |",
    ]
)
KEYS = st.sampled_from(
    ["language: no", "tags: x", "tags: [a, b]", "license: gpl", "license: other", "pretty_name: P", "# remark", "",
     "size_categories: [n<1K]", "configs: []", "configs:\n- config_name: c", "x: {y: [1, 2.50]}", "z: |\n  a\n\n  b",
     "license_name: q", "w: >-\n  folded\n  text"]
)  # fmt: skip


@st.composite
def cards(draw: st.DrawFn) -> str:
    keys = draw(st.lists(KEYS, unique_by=lambda line: line.split(":")[0], max_size=6))
    lines = draw(st.lists(LINES, max_size=12))
    return (f"---\n{chr(10).join(keys)}\n---\n" if draw(st.booleans()) else "") + "\n".join(lines)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=cards(), local=cards(), ours=st.booleans())
def test_merging_twice_is_merging_once(manifest: Manifest, head: str, local: str, ours: bool) -> None:
    first = ExistingCard(head, None)
    once = merge_card(manifest, [first, ExistingCard(local, manifest if ours else None)]).text
    again = merge_card(manifest, [ExistingCard(once, manifest)])
    beside = merge_card(manifest, [first, ExistingCard(once, manifest)])
    same = (again.text == once, again.notes == [], beside.text == once)  # the cards are long: no diff of them
    assert all(same), same
    assert once.count(f"\n{BEGIN}\n") == once.count(f"\n{END}\n") == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(LINES, max_size=6), after=st.lists(LINES, max_size=6))
def test_text_around_the_marks_survives_letter_for_letter(
    manifest: Manifest, before: list[str], after: list[str]
) -> None:
    above = "".join(f"{line}\n" for line in before if line not in (BEGIN, END, "\r"))
    below = "".join(f"{line}\n" for line in after if line not in (BEGIN, END, "\r"))
    old = fresh(manifest).replace(BEGIN, above + BEGIN) + below
    assert merge_card(manifest, [ExistingCard(old, manifest)]).text == old


def test_attaching_keeps_what_people_wrote_in_the_folder(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    card = artifact.path / "README.md"
    card.write_text(with_keys(card.read_text(), "language: en") + "\n## Notes\n\nMine.\n")
    later = attach(artifact, {"shift/report.json": b"{}\n"}, summary="It moved.")
    text = card.read_text()
    assert "## Shift\n\nIt moved.\n" in text and text.endswith("\n## Notes\n\nMine.\n")
    assert header(text)["language"] == "en"
    assert later.manifest.version == "v0.0.1" and verify(artifact.path) == []


def test_a_card_that_is_a_link_or_no_text_is_refused(artifact_folder: Path) -> None:
    card = artifact_folder / "README.md"
    card.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        attach(Artifact.open(artifact_folder), {"shift/report.json": b"{}\n"})
    card.unlink()
    card.symlink_to(artifact_folder / "manifest.json")
    with pytest.raises(IntegrityError, match="symbolic link"):
        existing_cards(artifact_folder)
    card.unlink()
    assert existing_cards(artifact_folder) == []


def test_a_summary_that_is_no_text_or_lies_elsewhere_is_refused(artifact_folder: Path) -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        attach(Artifact.open(artifact_folder), {"shift/summary.md": b"\xff"})
    attach(Artifact.open(artifact_folder), {"shift/report.json": b"{}\n"}, summary="It moved.")
    summary = artifact_folder / "shift" / "summary.md"
    summary.unlink()
    summary.symlink_to(artifact_folder / "manifest.json")
    with pytest.raises(IntegrityError, match="symbolic link"):
        attach(Artifact.open(artifact_folder), {"effects/report.json": b"{}\n"})


def test_compose_lists_every_file_it_writes_and_says_what_it_could_not_keep(manifest: Manifest) -> None:
    notes: list[str] = []
    old = ExistingCard(fresh(manifest).replace("license: mit", "license: gpl"), manifest)
    written = compose(manifest, attached={"shift/a.json": b"{}"}, existing=[old], notes=notes)
    assert list(written) == ["shift/a.json", *DERIVED, "manifest.json"]
    sealed = Manifest.model_validate_json(written["manifest.json"])
    assert sealed.own_digest() == sealed.manifest_digest
    for path in ("shift/a.json", *DERIVED):
        entry = sealed.file(path)
        assert entry and (entry.sha256, entry.bytes) == (sha256_hex(written[path]), len(written[path]))
    assert len(notes) == 1 and "gpl" in notes[0]


def test_a_secret_in_peoples_text_is_not_published(artifact_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "abcdef-0123456789")
    card = artifact_folder / "README.md"
    card.write_text(card.read_text() + "\nKey: abcdef-0123456789\n")
    with pytest.raises(InputError, match="secret"):
        attach(Artifact.open(artifact_folder), {"shift/report.json": b"{}\n"})


@pytest.fixture
def artifact_folder(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "a", make_draft()).path
