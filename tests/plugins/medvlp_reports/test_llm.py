"""The `llm` filter against a local server: what it asks, what it believes, and what it does when the server fails."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.llm import client
from medvlp_reports.llm.client import EndpointError
from medvlp_reports.llm.filter import LlmFilter
from medvlp_toolkit.data.records import Concept, Finding, Presence, Report
from tests.chat_server import (
    ChatServer,
    chat_server,
    dripping,
    endless,
    half,
    hangs_up,
    honest,
    read,
    says,
    slow,
    statement,
    states,
    status,
    text_of,
)

SECRET = "Smith-4711"
EFFUSION = Report("1", "FINDINGS: Small left effusion. No pneumothorax.")
PRESENT, ABSENT = Presence.PRESENT, Presence.ABSENT


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_LONGEST_WAIT", 0.02)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@pytest.fixture
def asked(server: ChatServer, tmp_path: Path) -> Any:
    """Makes a filter that asks the server."""

    def make(**options: Any) -> LlmFilter:
        return LlmFilter(
            **{"model": "m", "base_url": server.url, "cache_dir": tmp_path / "cache", "attempts": 3} | options
        )

    return make


def test_findings_are_what_the_model_states_and_the_report_says(asked: Any) -> None:
    assert asked()([EFFUSION]) == [
        [
            Finding("effusion", PRESENT, "left_pleural", (21, 29)),
            Finding("pneumothorax", ABSENT, None, (34, 46)),
        ]
    ]


def test_entities_and_positions_are_medklips_unless_a_knowledge_source_is_given(asked: Any) -> None:
    own = [Concept("a", "alpha"), Concept("b", "beta"), Concept("c", "gamma")]
    assert asked().entities == list(medklip_vocabulary().entities)
    assert asked().positions == list(medklip_vocabulary().positions)
    mine = asked(knowledge=own, positions=own[:1])
    assert (mine.entities, mine.positions) == (["a", "b", "c"], ["a"])


def test_a_request_asks_for_json_by_schema_at_temperature_zero(asked: Any, server: ChatServer) -> None:
    asked(model="qwen3:8b", max_tokens=77, extra={"top_k": 1})([EFFUSION])
    (request,) = server.requests
    assert (request["model"], request["temperature"], request["max_tokens"], request["top_k"]) == ("qwen3:8b", 0, 77, 1)
    schema = request["response_format"]["json_schema"]["schema"]
    item = schema["properties"]["findings"]["items"]
    assert item["properties"]["entity"]["enum"] == list(medklip_vocabulary().entities)
    assert item["properties"]["presence"]["enum"] == ["present", "absent", "uncertain"]
    assert set(item["properties"]["position"]["enum"]) == set(medklip_vocabulary().positions)
    assert set(item["required"]) == {"quote", "entity", "presence", "position"}
    assert "Authorization" not in server.headers[0]


def test_the_prompt_shows_descriptions_and_examples_of_the_knowledge_source(asked: Any, server: ChatServer) -> None:
    names = [("e1", "fluid"), ("e2", "air"), ("e3", "bone"), ("e4", "wire")]
    own = [Concept(key, name, definition=f"{name} is one two three four") for key, name in names]
    asked(knowledge=own, positions=[Concept("p", "the apex")], examples=2, description_words=3)([EFFUSION])
    system, *examples, last = server.requests[0]["messages"]
    assert "- e1: fluid is one …\n" in system["content"]
    assert system["role"] == "system"
    assert [message["role"] for message in examples] == ["user", "assistant"] * 2
    for text, answer in zip(examples[::2], examples[1::2], strict=True):
        stated = json.loads(answer["content"])["findings"]
        assert [item["presence"] for item in stated] == ["present", "absent", "uncertain"]
        assert all(item["quote"] in text["content"] for item in stated)
        assert stated[0]["position"] == "p"
    assert last == {"role": "user", "content": "Small left effusion. No pneumothorax."}


def test_only_the_sections_that_are_read_are_sent_and_spans_are_places_in_the_report(
    asked: Any, server: ChatServer
) -> None:
    text = f"HISTORY: {SECRET}, effusion.\nFINDINGS: No edema.\nCOMPARISON: None.\nIMPRESSION: Left effusion."
    (found,) = asked()([Report("1", text)])
    assert SECRET not in json.dumps(server.requests)
    assert [(text[slice(*finding.span)], finding.presence) for finding in found] == [
        ("edema", ABSENT), ("effusion", PRESENT),
    ]  # fmt: skip
    server.behaviours = [states(statement("No edema. Left effusion", "edema"))]  # runs over two sections
    mine = asked(cache_dir=None)
    assert mine([Report("1", text)]) == [[]]
    assert mine.take_tally()["quotes that are not in the report, dropped"] == 1


def test_an_addendum_is_sent_as_what_corrects_the_rest(asked: Any, server: ChatServer) -> None:
    text = "FINDINGS: No edema.\n\nADDENDUM: Left effusion."
    (found,) = asked()([Report("1", text)])
    assert text_of(server.requests[-1]) == "No edema.\nADDENDUM:\nLeft effusion."
    assert [text[slice(*finding.span)] for finding in found] == ["edema", "effusion"]
    server.behaviours = [states(statement("ADDENDUM", "edema"))]
    assert asked(cache_dir=None)([Report("1", text)]) == [[]]


def test_headings_of_ones_own_are_read(asked: Any, server: ChatServer, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("sections: {history: [from the wards]}\n")
    asked(headings=tmp_path / "mine.yaml")([Report("1", f"FROM THE WARDS: {SECRET}\nFINDINGS: No edema.")])
    assert SECRET not in json.dumps(server.requests)


class TestLies:
    @pytest.mark.parametrize(
        ("quote", "stands_at"),
        [
            ("Small left effusion", "Small left effusion"),
            ("small LEFT effusion", "Small left effusion"),
            ("  Small\n left   effusion. ", "Small left effusion"),
            ('"no pneumothorax"', "No pneumothorax"),
            ("pneumothoraces", None),
            ("pneumo", None),  # a part of a word
            ("left-sided effusion", None),
            ("large right effusion", None),
            ("a", None),
            (".", None),
            ("", None),
            (None, None),
            (["Small left effusion"], None),
            ({"text": "effusion"}, None),
            (7, None),
        ],
    )
    def test_a_quote_that_is_not_in_the_report_is_dropped_and_counted(
        self, asked: Any, server: ChatServer, quote: Any, stands_at: str | None
    ) -> None:
        server.always = states({**statement("", "edema"), "quote": quote})
        mine = asked()
        (found,) = mine([EFFUSION])
        assert [EFFUSION.text[slice(*finding.span)] for finding in found] == ([] if stands_at is None else [stands_at])
        assert mine.take_tally()["quotes that are not in the report, dropped"] == (stands_at is None)

    def test_words_outside_the_lists_are_dropped_and_counted(self, asked: Any, server: ChatServer) -> None:
        server.always = states(
            statement("effusion", "unicorn"),
            statement("effusion", "effusion", "perhaps"),
            statement("effusion", "effusion", position="on the moon"),
            {"quote": "effusion"},
            {**statement("effusion", "edema"), "entity": ["edema"], "position": {}},
            {**statement("effusion", "edema"), "position": None},
        )
        mine = asked()
        assert mine([EFFUSION]) == [
            [Finding("effusion", PRESENT, None, (21, 29)), Finding("edema", PRESENT, None, (21, 29))]
        ]
        assert mine.take_tally() == {
            "requests": 1,
            "entities that are not in the list, dropped": 3,
            "statements without a known presence, dropped": 1,
            "positions that are not in the list, left out": 1,
        }

    def test_the_same_words_said_again_are_the_next_place(self, asked: Any, server: ChatServer) -> None:
        server.always = states(*[statement("edema", "edema")] * 3)
        (found,) = asked()([Report("1", "Edema at the base. Edema at the apex.")])
        assert [finding.span for finding in found] == [(0, 5), (19, 24)]

    def test_places_are_right_in_text_of_any_script(self, asked: Any, server: ChatServer) -> None:
        text = "İ  “Çok”\u00a0 büyük — EFFUSION\r\n seen…"
        server.always = states(statement("büyük - effusion seen", "effusion"))
        (found,) = asked()([Report("1", text)])
        assert [text[slice(*finding.span)] for finding in found] == ["büyük — EFFUSION\r\n seen"]


class TestAnswers:
    @pytest.mark.parametrize(
        "wrapped",
        [
            "```json\n{}\n```",
            "Here you are: {} Anything else?",
            "<think>The report says {{maybe}}</think>\n{}",
            " \n{}",
        ],
    )
    def test_json_is_found_in_what_models_put_around_it(self, asked: Any, server: ChatServer, wrapped: str) -> None:
        answer = json.dumps({"findings": read(EFFUSION.text)})
        server.always = says(wrapped.replace("{{", "{").replace("}}", "}").replace("{}", answer))
        assert len(asked()([EFFUSION])[0]) == 2
        assert len(server.requests) == 1

    def test_content_in_parts_is_joined(self, asked: Any, server: ChatServer) -> None:
        answer = json.dumps({"findings": read(EFFUSION.text)})
        server.always = says([{"type": "text", "text": answer[:9]}, {"type": "text", "text": answer[9:]}])
        assert len(asked()([EFFUSION])[0]) == 2

    @pytest.mark.parametrize(
        "wrong",
        [says("I cannot help."), says("[]"), says('{"findings": 5}'), says('{"findings": [{"quo'), says("{" * 5000),
         says(""), says(None), says(5), status(200, b"<html>"), status(200, b'{"choices": []}'), status(200, b"null"),
         status(200, b'{"error": {"message": "x"}}'), status(200, b"\xff\xfe")],
    )  # fmt: skip
    def test_an_unusable_answer_is_asked_for_again(self, asked: Any, server: ChatServer, wrong: Any) -> None:
        server.behaviours = [wrong]
        assert len(asked()([EFFUSION])[0]) == 2
        assert len(server.requests) == 2

    def test_an_answer_that_was_cut_is_asked_for_with_more_tokens(self, asked: Any, server: ChatServer) -> None:
        server.behaviours = [says('{"findings": [{"quote": "Sm', finish="length")] * 2
        assert len(asked(max_tokens=100)([EFFUSION])[0]) == 2
        assert [request["max_tokens"] for request in server.requests] == [100, 200, 400]

    def test_a_report_without_a_usable_answer_is_counted_and_the_others_are_kept(
        self, asked: Any, server: ChatServer
    ) -> None:
        def sulks_at_secrets(handler: Any, request: Any) -> None:
            (says("no") if SECRET in request["messages"][-1]["content"] else honest)(handler, request)

        server.always = sulks_at_secrets
        mine = asked()
        found = mine([EFFUSION, Report("2", f"{SECRET}: edema."), Report("3", "Edema.")])
        assert [len(findings) for findings in found] == [2, 0, 1]
        tally = mine.take_tally()
        assert tally["reports without a usable answer, no JSON in it"] == 1
        assert SECRET not in str(tally)


class TestFailures:
    @pytest.mark.parametrize("failure", [status(500), half, slow(2), hangs_up])
    def test_a_report_that_the_server_fails_at_costs_itself_alone(
        self, asked: Any, server: ChatServer, failure: Any
    ) -> None:
        def fails_at_secrets(handler: Any, request: Any) -> None:
            (failure if SECRET in request["messages"][-1]["content"] else honest)(handler, request)

        server.always = fails_at_secrets
        mine = asked(timeout=0.3, attempts=2)
        found = mine([Report("2", f"{SECRET}: edema."), EFFUSION])
        assert [len(findings) for findings in found] == [0, 2]
        assert sum(count for what, count in mine.take_tally().items() if "without a usable" in what) == 1

    def test_reports_that_are_refused_one_after_another_end_the_run(self, asked: Any, server: ChatServer) -> None:
        server.behaviours = [honest] * 3
        server.always = status(400)
        with pytest.raises(EndpointError, match=r"10 reports one after another have no usable answer \(status 400\)"):
            asked(concurrency=1)([Report(str(n), f"Effusion number {n}.") for n in range(40)])
        assert len(server.requests) == 13

    @pytest.mark.parametrize(
        "failure",
        [status(500), status(503), status(429, retry_after="0"), status(429, retry_after="tomorrow"), status(408), half,
         hangs_up],
    )  # fmt: skip
    def test_what_may_pass_is_tried_again(self, asked: Any, server: ChatServer, failure: Any) -> None:
        server.behaviours = [failure, failure]
        mine = asked()
        assert len(mine([EFFUSION])[0]) == 2
        assert mine.take_tally()["requests"] == len(server.requests) == 3

    @pytest.mark.parametrize("late", [slow(3), dripping(0.05)])
    def test_a_slow_answer_is_given_up_and_asked_for_again(self, asked: Any, server: ChatServer, late: Any) -> None:
        server.behaviours = [late]
        assert len(asked(timeout=0.4)([EFFUSION])[0]) == 2

    def test_an_endless_answer_costs_its_report_alone(self, asked: Any, server: ChatServer) -> None:
        mine = asked(concurrency=1)
        assert len(mine([EFFUSION])[0]) == 2
        server.behaviours = [endless]
        assert mine([Report("2", "Edema.")]) == [[]]
        assert mine.take_tally()["reports without a usable answer, an answer of endless length"] == 1

    def test_a_server_asks_for_time_and_gets_it(self, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        state = type("State", (), {"attempt_number": 1, "outcome": None})()
        state.outcome = type("Outcome", (), {"exception": lambda self: client.TryAgainError("status 429", 7.5)})()
        assert client._wait(state) == 7.5
        state.outcome = type("Outcome", (), {"exception": lambda self: client.TryAgainError("status 429", 1e9)})()
        assert client._wait(state) == 300

    def test_waits_grow_and_differ(self) -> None:
        waits = {n: [client._wait(_attempt(n)) for _ in range(200)] for n in (1, 3)}
        assert max(waits[1]) <= 0.02 >= max(waits[3])
        assert len(set(waits[3])) > 100

    @pytest.mark.parametrize(
        ("failure", "message"),
        [
            (status(401), "the key is refused (status 401); name the variable that holds it as api_key_variable"),
            (status(403), "the key is refused (status 403)"),
            (status(404), "no such model or path (status 404)"),
            (status(404, b'{"error": {"code": "model_not_found"}}'), "(status 404, model_not_found)"),
            (status(307, location="https://example.org/v1"), "leads to another address (status 307)"),
            (status(400, b'{"error": {"param": "response_format"}}'), "try structured: json_object, or none"),
            (status(400), "1 report has no usable answer (status 400)"),
            (status(400, b'{"error": {"code": "context_length_exceeded"}}'), "(status 400, context_length_exceeded)"),
            (status(500), "the server fails (status 500)"),
            (slow(2), "the server fails (no answer within 0.3 s)"),
            (half, "the server fails (the connection broke off)"),
            (says("never"), "1 report has no usable answer (no JSON in it)"),
        ],
    )
    def test_where_nothing_works_the_run_ends_with_one_line(
        self, asked: Any, server: ChatServer, failure: Any, message: str
    ) -> None:
        server.always = failure
        with pytest.raises(EndpointError) as caught:
            asked(timeout=0.3, attempts=2)([Report("1", f"Effusion of {SECRET}.")])
        told = str(caught.value)
        assert told.startswith(f"{server.url}/chat/completions: ")
        assert message in told
        assert "\n" not in told
        assert SECRET not in told

    def test_nothing_at_the_address_is_one_line(self, tmp_path: Path) -> None:
        with chat_server() as gone:
            pass
        with pytest.raises(EndpointError, match="nothing answers there, after 2 attempts"):
            LlmFilter("m", gone.url, cache_dir=tmp_path, attempts=2)([EFFUSION])

    def test_a_server_that_dies_in_the_middle_ends_the_run_and_what_it_said_is_kept(
        self, asked: Any, server: ChatServer
    ) -> None:
        reports = [Report(str(n), f"Effusion number {n}.") for n in range(40)]
        server.behaviours = [honest] * 12
        server.always = status(500)
        with pytest.raises(
            EndpointError, match=r"the server fails \(status 500\); what was answered until then is kept"
        ):
            asked(concurrency=2, attempts=1)(reports)
        all_ended()
        assert len(server.requests) < 20
        server.always, server.requests = honest, []
        mine = asked()
        assert all(mine(reports))
        assert len(server.requests) == 40 - 12
        assert mine.take_tally()["answers from the cache"] == 12

    def test_a_run_that_is_interrupted_ends_at_once(self, asked: Any, server: ChatServer) -> None:
        """The main thread is interrupted while requests are under way and others wait for their next attempt."""
        server.behaviours = [status(500, retry_after="200")]
        server.always = slow(30)
        mine = asked(concurrency=3)
        timer = threading.Timer(0.7, lambda: signal_main())
        # A shell's background jobs ignore interrupts.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                mine([Report(str(n), f"Effusion {n}.") for n in range(20)])
        finally:
            signal.signal(signal.SIGINT, before)
        all_ended()


def all_ended() -> None:
    """Every thread of a filter ends within seconds."""
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("llm")]:
        thread.join(5)
        assert not thread.is_alive()


def signal_main() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _attempt(number: int) -> Any:
    return type("State", (), {"attempt_number": number, "outcome": None, "seconds_since_start": 0})()


class TestCache:
    def test_a_second_run_asks_nothing(self, asked: Any, server: ChatServer) -> None:
        first = asked()([EFFUSION])
        again = asked()
        assert again([EFFUSION, Report("other id", EFFUSION.text)]) == first * 2
        assert len(server.requests) == 1
        assert again.take_tally() == {"answers from the cache": 1}

    @pytest.mark.parametrize(
        "change",
        [{"model": "other"}, {"examples": 0}, {"description_words": 0}, {"structured": "json_object"},
         {"extra": {"top_k": 1}}, {"knowledge": [Concept("effusion", "effusion")]}],
    )  # fmt: skip
    def test_another_prompt_or_model_asks_again(self, asked: Any, server: ChatServer, change: dict[str, Any]) -> None:
        before, after = asked(), asked(**change)
        before([EFFUSION])
        after([EFFUSION])
        assert len(server.requests) == 2
        assert before.fingerprint != after.fingerprint

    def test_what_does_not_change_an_answer_asks_nothing(self, asked: Any, server: ChatServer) -> None:
        before, after = asked(), asked(concurrency=1, timeout=9, max_tokens=9, attempts=1)
        before([EFFUSION])
        after([EFFUSION])
        assert len(server.requests) == 1
        assert before.fingerprint == after.fingerprint
        assert server.url not in str(before.fingerprint)

    def test_equal_texts_are_asked_once(self, asked: Any, server: ChatServer) -> None:
        found = asked()([Report(str(n), EFFUSION.text) for n in range(20)])
        assert [len(findings) for findings in found] == [2] * 20
        assert len(server.requests) == 1

    def test_without_a_cache_nothing_is_written(self, asked: Any, server: ChatServer, tmp_path: Path) -> None:
        mine = asked(cache_dir=None)
        mine([EFFUSION])
        mine([EFFUSION])
        assert len(server.requests) == 2
        assert list(tmp_path.iterdir()) == []

    def test_it_quotes_reports_and_is_readable_by_its_owner_alone(self, asked: Any, tmp_path: Path) -> None:
        asked()([EFFUSION])
        assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "cache" / "answers.sqlite").stat().st_mode) == 0o600

    def test_several_processes_share_it(self, asked: Any, server: ChatServer) -> None:
        one, other = asked(), pickle.loads(pickle.dumps(asked()))
        one([EFFUSION])
        other([Report("2", "Edema.")])
        assert one([Report("2", "Edema.")]) == other([Report("2", "Edema.")])
        assert len(server.requests) == 2

    def test_a_damaged_file_is_named(self, asked: Any, tmp_path: Path) -> None:
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "answers.sqlite").write_bytes(b"no database" * 100)
        with pytest.raises(OSError, match=r"answers\.sqlite: the cache of answers cannot be used"):
            asked()([EFFUSION])

    def test_a_folder_that_cannot_be_made_is_named(self, asked: Any, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ValueError, match="give another cache_dir"):
            asked(cache_dir=tmp_path / "file" / "below")([EFFUSION])


def test_requests_are_made_at_once_up_to_the_limit(asked: Any, server: ChatServer) -> None:
    server.always = slow(0.1)
    found = asked(concurrency=4)([Report(str(n), f"Effusion number {n}.") for n in range(16)])
    assert all(len(findings) == 1 for findings in found)
    assert 2 <= server.most_at_once <= 4


def test_reports_without_text_ask_nothing(asked: Any, server: ChatServer) -> None:
    assert asked()([Report("1", ""), Report("2", " \n ")]) == [[], []]
    assert server.requests == []


def test_nothing_of_a_report_is_logged(asked: Any, server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.behaviours = [status(500), says(f"{SECRET}"), half]
    asked()([Report("1", f"Effusion of {SECRET}.")])
    assert caplog.records  # the HTTP library logs its requests
    assert SECRET not in caplog.text
    assert "ffusion" not in caplog.text


def test_a_key_is_read_from_the_variable_that_is_named(
    asked: Any, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "key-4711")
    mine = asked(api_key_variable="OUR_KEY")
    mine([EFFUSION])
    assert server.headers[0]["Authorization"] == "Bearer key-4711"
    assert b"key-4711" not in pickle.dumps(mine)
    monkeypatch.delenv("OUR_KEY")
    with pytest.raises(EndpointError, match="the environment has no OUR_KEY"):
        asked(api_key_variable="OUR_KEY", cache_dir=None)([EFFUSION])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": " "}, "model: expected the name"),
        ({"concurrency": 0}, "concurrency is 1 or more, not 0"),
        ({"attempts": 0}, "attempts is 1 or more"),
        ({"max_tokens": -1}, "max_tokens is 1 or more"),
        ({"timeout": 0}, "timeout is a number of seconds"),
        ({"structured": "xml"}, "structured is json_schema, json_object or none, not 'xml'"),
        ({"knowledge": []}, "the knowledge source has no concepts"),
        ({"base_url": "127.0.0.1:8000"}, "where an address like http://127.0.0.1:8000/v1 is expected"),
        ({"base_url": "ftp://127.0.0.1/v1"}, "where an address like"),
        ({"base_url": "http://me:secret@127.0.0.1/v1"}, "without a password"),
        ({"base_url": "http://127.0.0.1/v1?key=1"}, "without a password or query"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        LlmFilter(**{"model": "m"} | options)


def test_an_address_may_leave_out_the_version_and_name_the_path(server: ChatServer, tmp_path: Path) -> None:
    for number, url in enumerate((server.url.removesuffix("/v1"), f"{server.url}/", f"{server.url}/chat/completions")):
        LlmFilter("m", url, cache_dir=tmp_path / str(number))([EFFUSION])
    assert len(server.requests) == 3


@pytest.mark.parametrize("structured", ["json_schema", "json_object", "none"])
def test_servers_are_asked_for_json_in_the_way_they_know(asked: Any, server: ChatServer, structured: str) -> None:
    asked(structured=structured)([EFFUSION])
    assert server.requests[0].get("response_format", {"type": "none"})["type"] == structured
