"""The ``llm`` report filter: queries a language model, and keeps findings with a verified quote."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import medvlp_toolkit as mv
from medvlp_reports.entity_linker import HasConcepts
from medvlp_reports.llm import prompt, statements
from medvlp_reports.llm.cache import AnswerCache, default_cache_dir, key_of
from medvlp_reports.llm.client import (
    AnswerError,
    ChatClient,
    EmptyAnswerError,
    EndpointError,
    Message,
    Reply,
    TryAgainError,
    chat_url,
)
from medvlp_reports.llm.text import TextRead
from medvlp_toolkit.data.headings import read_headings, shipped_headings
from medvlp_toolkit.data.records import Concept, Finding, Report
from medvlp_toolkit.data.sections import DEFAULT_SECTIONS

Structured = Literal["json_schema", "json_object", "none"]
_MOST_FAILURES = 10  # consecutive reports without an answer that end the run
_LONGER = 4  # maximum factor of tokens for a truncated answer

REQUESTS = "requests"
FROM_CACHE = "answers from the cache"
UNANSWERED = "reports without a usable answer"


class LlmFilter:
    """Extracts findings with a model behind an OpenAI-compatible endpoint (vLLM, Ollama, llama.cpp …).

    The answer is JSON by a schema: entity, presence, position and a quote. A finding whose quote is not in the report
    is dropped and counted. Answers are cached on disk by the hash of text, prompt and model, so that an interrupted run
    resumes without repeating requests.

    Args:
        model: the server's name of the model.
        base_url: the server's address, which must be this machine or in a private network.
        allow_remote: allow public addresses; reports are patient data.
        knowledge: source of entities and their descriptions; MedKLIP's 75 when None.
        positions: source of positions; MedKLIP's 51 when None.
        sections: sections of a report to read; a report without any of them is read completely.
        headings: a YAML file of headings in addition to the shipped ones (``medvlp_toolkit.data.headings``).
        concurrency: number of simultaneous requests per process.
        timeout: seconds per request.
        attempts: number of attempts per request, with increasing delays.
        structured: how JSON is requested: ``json_schema``, ``json_object``, or ``none``.
        examples: number of worked examples in the prompt, built from the knowledge source's names.
        description_words: number of words of each description in the prompt; 0 for names only.
        max_tokens: maximum tokens of an answer; a truncated answer is requested again with up to four times as many.
        extra: further fields of the request, such as ``{chat_template_kwargs: {enable_thinking: false}}``.
        api_key_variable: environment variable of the key, if the server requires one.
        ca_file: certificates of the server's authority, if the system does not have them.
        cache_dir: folder of the answers, which quote reports; ``default``: the user's cache, None: no cache.

    A report whose answer cannot be used has no findings; the end of a run counts them.

    Example::

        report_filter:
          _target_: medvlp_toolkit.report_filters.llm
          model: qwen3:32b
          base_url: http://127.0.0.1:11434/v1
    """

    rate_of = REQUESTS

    def __init__(
        self,
        model: str,
        base_url: str = "http://127.0.0.1:8000/v1",
        allow_remote: bool = False,
        knowledge: HasConcepts | Iterable[Concept] | None = None,
        positions: HasConcepts | Iterable[Concept] | None = None,
        sections: Sequence[str] = DEFAULT_SECTIONS,
        headings: str | Path | None = None,
        concurrency: int = 8,
        timeout: float = 120.0,
        attempts: int = 5,
        structured: Structured = "json_schema",
        examples: int = 3,
        description_words: int = 20,
        max_tokens: int = 2048,
        extra: Mapping[str, Any] | None = None,
        api_key_variable: str | None = None,
        ca_file: str | None = None,
        cache_dir: str | Path | None = "default",
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise ValueError("model: expected the name that the server has for its model")
        for name, value in (("concurrency", concurrency), ("attempts", attempts), ("max_tokens", max_tokens)):
            if value < 1:
                raise ValueError(f"{name} is 1 or more, not {value}")
        if timeout <= 0:
            raise ValueError(f"timeout is a number of seconds, not {timeout}")
        if structured not in ("json_schema", "json_object", "none"):
            raise ValueError(f"structured is json_schema, json_object or none, not {structured!r}")
        concepts = _concepts(knowledge, "chest_entities")
        places = _concepts(positions, "chest_positions")
        self.url = chat_url(base_url, allow_remote)
        self.model, self.sections = model, tuple(sections)
        self.headings = shipped_headings() if headings is None else read_headings(headings)
        self.entities: list[str] = [concept.id for concept in concepts]
        self.positions: list[str] = [place.id for place in places]
        self.concurrency, self.attempts, self.timeout, self.max_tokens = concurrency, attempts, timeout, max_tokens
        self.allow_remote, self.api_key_variable, self.ca_file = allow_remote, api_key_variable, ca_file
        self.extra = dict(extra or {})
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        if cache_dir == "default":
            self.cache_dir = default_cache_dir()
        self._messages: list[Message] = [
            {"role": "system", "content": prompt.rules(concepts, self.positions, description_words)},
            *prompt.examples(concepts, places, examples),
        ]
        self._format = _response_format(structured, self.entities, self.positions)
        self._vocabulary = statements.Vocabulary(frozenset(self.entities), frozenset(self.positions))
        self._begin()

    def _begin(self) -> None:
        """Per-process state."""
        self._tally: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._client: ChatClient | None = None
        self._cache: AnswerCache | None = None
        self._failures = 0
        self._last_failure: AnswerError | None = None
        self._answered = False

    @property
    def batch_size(self) -> int:
        """Best number of reports per call: few enough to show progress, enough to keep all requests busy."""
        return 4 * self.concurrency

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Settings that determine the findings; the address is not one of them."""
        return {
            "version": version("medvlp-reports"),
            "prompt": key_of(prompt.PROMPT_VERSION, self._messages, self._format, self.extra),
            "model": self.model,
            "sections": list(self.sections),
            "headings": self.headings.digest,
        }

    def take_tally(self) -> Counter[str]:
        """Requests, cached answers and dropped statements since the last call."""
        with self._lock:
            taken, self._tally = self._tally, Counter()
        return taken

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        """Findings of each report in the order of its text; spans are characters of ``report.text``.

        Raises EndpointError if there is no answer, the key or model is refused, or consecutive reports have no answer.
        Answers received until then are in the cache.
        """
        texts = [TextRead(report, self.sections, self.headings) for report in reports]
        answers = self._answers(list(dict.fromkeys(text.text for text in texts if text.text.strip())))
        return [self._findings(text, answers.get(text.text)) for text in texts]

    def _findings(self, text: TextRead, answer: str | None) -> list[Finding]:
        if answer is None:
            return []
        tally: Counter[str] = Counter()
        found = statements.findings_of(statements.read_statements(answer), text.text, self._vocabulary, tally)
        placed = []
        for finding in found:
            span = text.span_in_report(finding.span)
            if span is None:
                tally[statements.QUOTE_DROPPED] += 1
            else:
                placed.append(replace(finding, span=span))
        self._count(tally)
        return placed

    def _answers(self, texts: Sequence[str]) -> dict[str, str]:
        """A usable answer for each text that has one, from the cache or from concurrent requests."""
        cache = self._opened_cache()
        keys = {text: self._key(text) for text in texts}
        answers = {text: known for text in texts if cache is not None and (known := cache.get(keys[text])) is not None}
        self._count(Counter({FROM_CACHE: len(answers)}))
        waiting = [text for text in texts if text not in answers]
        if not waiting:
            return answers
        client = self._opened_client()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="llm")
        ended = threading.Event()
        try:
            asked: dict[Future[str], str] = {pool.submit(self._ask, client, text, ended): text for text in waiting}
            done, _ = wait(asked, return_when=FIRST_EXCEPTION)
            failed = next((future for future in done if future.exception() is not None), None)
            if failed is not None:
                failed.result()
        except BaseException:
            # Cancel open requests, because waiting for them could take minutes.
            self._close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        answers.update({asked[future]: future.result() for future in asked if future.result()})
        if self._last_failure is not None and not self._answered:
            raise self._hopeless(self._last_failure)
        return answers

    def _ask(self, client: ChatClient, text: str, ended: threading.Event) -> str:
        """A usable answer, or ""; once the run has failed, waiting requests are not sent."""
        try:
            return "" if ended.is_set() else self._answer(client, text)
        except EndpointError:
            ended.set()
            raise

    def _answer(self, client: ChatClient, text: str) -> str:
        """A usable answer, stored in the cache; "" if there is none, which is counted."""
        try:
            answer = self._usable(client, text)
        except AnswerError as error:
            if isinstance(error, TryAgainError):
                self._see_that_it_lives(client, error)
            self._count(Counter({f"{UNANSWERED}, {error}": 1}))
            with self._lock:
                self._failures += 1
                self._last_failure = error
            if self._failures >= _MOST_FAILURES:
                raise self._hopeless(error) from None
            return ""
        if self._cache is not None:
            self._cache.put(self._key(text), answer)
        with self._lock:
            self._failures, self._answered = 0, True
        return answer

    def _usable(self, client: ChatClient, text: str) -> str:
        """A valid answer. A truncated one is requested again with more tokens, an invalid one once more."""
        tokens, reason = self.max_tokens, ""
        for attempt in range(3):
            reply = self._reply(client, text, tokens, seed=attempt)
            try:
                statements.read_statements(reply.content)
                return reply.content
            except statements.NoStatementsError as error:
                reason = f"{error}"
                if reply.cut:
                    tokens = min(2 * tokens, _LONGER * self.max_tokens)
                elif attempt:
                    break
        raise AnswerError(reason)

    def _reply(self, client: ChatClient, text: str, tokens: int, seed: int) -> Reply:
        options = {"model": self.model, "temperature": 0, "seed": seed, "max_tokens": tokens, "stream": False}
        if self._format is not None:
            options["response_format"] = self._format
        return client.ask([*self._messages, {"role": "user", "content": text}], **(options | self.extra))

    def _see_that_it_lives(self, client: ChatClient, error: TryAgainError) -> None:
        """Raise EndpointError if the server fails for any report, not only for this one."""
        try:
            question = [{"role": "user", "content": "Answer with one word."}]
            client.ask(question, model=self.model, temperature=0, max_tokens=1, **self.extra)
        except EmptyAnswerError:
            pass
        except AnswerError:
            kept = "; what was answered until then is kept, and the same command resumes there"
            raise EndpointError(f"{self.url}: the server fails ({error}){kept}") from None

    def _hopeless(self, error: AnswerError) -> EndpointError:
        many = "1 report has" if self._failures == 1 else f"{self._failures} reports one after another have"
        kept = ". What was answered is kept: the same command resumes there" if self._answered else ""
        return EndpointError(f"{self.url}: {many} no usable answer ({error}){kept}")

    def _key(self, text: str) -> str:
        return key_of(self.model, self._messages, self._format, self.extra, text)

    def _count(self, counts: Counter[str]) -> None:
        with self._lock:
            self._tally.update({what: count for what, count in counts.items() if count})

    def _opened_cache(self) -> AnswerCache | None:
        if self._cache is None and self.cache_dir is not None:
            self._cache = AnswerCache(self.cache_dir)
        return self._cache

    def _opened_client(self) -> ChatClient:
        if self._client is None:
            self._client = ChatClient(
                self.url,
                self.api_key_variable,
                self.timeout,
                self.attempts,
                self.allow_remote,
                self.ca_file,
                on_request=lambda: self._count(Counter({REQUESTS: 1})),
            )
        return self._client

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def __getstate__(self) -> dict[str, Any]:
        own = {"_tally", "_lock", "_client", "_cache", "_failures", "_last_failure", "_answered"}
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()


def _concepts(source: HasConcepts | Iterable[Concept] | None, shipped: str) -> list[Concept]:
    if source is None:
        source = _shipped(shipped)
    concepts = list(source if isinstance(source, Iterable) else source.concepts)
    if not concepts:
        raise ValueError("llm: the knowledge source has no concepts")
    return concepts


@cache
def _shipped(name: str) -> tuple[Concept, ...]:
    return tuple(mv.knowledge_sources.definitions(path=name).concepts)


def _response_format(structured: str, entities: Sequence[str], positions: Sequence[str]) -> dict[str, Any] | None:
    if structured == "none":
        return None
    if structured == "json_object":
        return {"type": "json_object"}
    schema = prompt.answer_schema(entities, positions)
    return {"type": "json_schema", "json_schema": {"name": "findings", "strict": True, "schema": schema}}
