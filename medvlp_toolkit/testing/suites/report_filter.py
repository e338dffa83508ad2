"""The contract of report filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from medvlp_toolkit.data.contracts import Batched, LanguageAware, Tallying
from medvlp_toolkit.data.records import Finding, Presence, Report
from medvlp_toolkit.testing.suites.plugin import PluginSuite

SAMPLES = (
    "The heart size is normal. There is a small left pleural effusion. No pneumothorax.",
    "Right lower lobe consolidation, possibly pneumonia. Stable cardiomegaly.",
    "No acute cardiopulmonary abnormality.",
    "Left-sided pacemaker. Mild pulmonary edema cannot be excluded. Old fracture of the right clavicle.",
)

ODD_TEXTS = {
    "an empty report": "",
    "a report of white space": " \n\t \r\n ",
    "a report of punctuation": "... -- ;;; ??? ((( ))) 1. 2. /// \\\\",
    "a report in capitals without stops": "SMALL LEFT EFFUSION NO PNEUMOTHORAX HEART ENLARGED",
    "a report in another script": "左侧少量胸腔积液。Плевральный выпот. انصباب",
    "a report with control and combining characters": "effusion\x00\x0b\u0301\ufeff \U0001f600 no\u00a0pneumothorax",
    "a report without a single space": "effusion" * 500,
    "a report of nested negation": "no " * 300 + "effusion",
}


class ReportFilterSuite(PluginSuite):
    """What :class:`medvlp_toolkit.interfaces.ReportFilter` promises.

    Attributes:
        texts: reports in the filter's own language; at least one holds something that it finds.
        presence: False for a linker that finds mentions without presence.
    """

    kind = "report_filters"
    texts: ClassVar[Sequence[str]] = SAMPLES
    presence: ClassVar[bool] = True

    def reports(self) -> list[Report]:
        """The sample reports; override where the filter looks findings up by the report's id."""
        return [Report(f"report-{number}", text) for number, text in enumerate(self.texts)]

    def findings(self, instance: Any, reports: Sequence[Report], what: str) -> list[list[Finding]]:
        with self.doing(f"filtering {what}"):
            found = instance(reports)
        self.check(
            isinstance(found, list) and all(isinstance(one, list) for one in found),
            f"for {what} it gives {type(found).__name__}; expected a list of lists of Finding",
        )
        self.check(
            len(found) == len(reports), f"for {what} it gives {len(found)} lists for {len(reports)} reports, in order"
        )
        for one in found:
            for finding in one:
                self.check(
                    isinstance(finding, Finding),
                    f"for {what} it gives a {type(finding).__name__}; expected medvlp_toolkit.data.records.Finding",
                )
        return found

    def test_declares_the_entities_and_positions_it_speaks_of(self) -> None:
        instance = self.built()
        for attribute in ("entities", "positions"):
            self.check(hasattr(instance, attribute), f"it has no `{attribute}`; declare the ids it gives as a sequence")
            self.check_unique_names(getattr(instance, attribute), attribute)
        self.check(len(list(instance.entities)), "`entities` is empty: a filter declares what it can find")

    def test_finds_something_in_the_samples(self) -> None:
        found = self.findings(self.built(), self.reports(), "the sample reports")
        self.check(
            any(found),
            f"it finds nothing in {len(self.texts)} sample reports; set `texts` in the test class to reports that hold "
            "what it looks for",
        )

    def test_findings_use_declared_names_and_lie_in_the_text(self) -> None:
        instance = self.built()
        reports = self.reports()
        entities, positions = set(instance.entities), set(instance.positions)
        for report, found in zip(reports, self.findings(instance, reports, "the sample reports"), strict=True):
            for finding in found:
                self.check_finding(finding, report, entities, positions)

    def check_finding(self, finding: Finding, report: Report, entities: set[str], positions: set[str]) -> None:
        self.check(finding.entity in entities, f"it finds '{finding.entity}', which its `entities` do not hold")
        self.check(
            finding.position is None or finding.position in positions,
            f"it places '{finding.entity}' at '{finding.position}', which its `positions` do not hold",
        )
        if self.presence:
            self.check(
                isinstance(finding.presence, Presence),
                f"'{finding.entity}' has presence {finding.presence!r}; expected a Presence "
                "(set `presence = False` in the test class of a linker that only finds mentions)",
            )
        else:
            self.check(finding.presence is None, f"'{finding.entity}' has a presence; a linker gives None")
        if finding.span is not None:
            start, end = finding.span
            self.check(
                0 <= start < end <= len(report.text),
                f"'{finding.entity}' has span {finding.span} in a text of {len(report.text)} characters",
            )

    def test_no_reports_give_no_lists(self) -> None:
        self.check(self.findings(self.built(), [], "no reports at all") == [], "no reports give something")

    def test_odd_reports_are_filtered_without_an_error(self) -> None:
        instance = self.built()
        entities, positions = set(instance.entities), set(instance.positions)
        for what, text in ODD_TEXTS.items():
            report = Report("report-odd", text)
            for finding in self.findings(instance, [report], what)[0]:
                self.check_finding(finding, report, entities, positions)

    def test_empty_report_has_no_findings(self) -> None:
        instance = self.built()
        for what in ("an empty report", "a report of white space"):
            found = self.findings(instance, [Report("report-empty", ODD_TEXTS[what])], what)[0]
            self.check(not found, f"it finds {len(found)} things in {what}")

    def test_long_report_is_filtered(self) -> None:
        text = "\n".join(self.texts) or "text"
        self.findings(self.built(), [Report("report-long", f"{text}\n" * (100_000 // len(text)))], "100,000 characters")

    def test_same_report_gives_the_same_findings(self) -> None:
        instance, reports = self.built(), self.reports()
        first = self.findings(instance, reports, "the sample reports")
        self.check(self.findings(instance, reports, "them again") == first, "the same reports give other findings")
        self.check(
            self.findings(self.built(), reports, "them with a new instance") == first,
            "two instances built alike give other findings for the same reports",
        )

    def test_reports_do_not_influence_one_another(self) -> None:
        reports = self.reports()
        together = self.findings(self.built(), reports, "the sample reports")
        instance = self.built()
        alone = [self.findings(instance, [report], "one report")[0] for report in reversed(reports)][::-1]
        self.check(alone == together, "a report's findings depend on the reports that it is filtered with")

    def test_fingerprint_is_plain_data(self) -> None:
        self.check_fingerprint()

    def test_what_it_counts_is_plain_and_counted_once(self) -> None:
        """Of one that counts its own work (``Tallying``)."""
        instance = self.built()
        if not isinstance(instance, Tallying):
            return
        reports = [*self.reports(), *(Report(what, text) for what, text in ODD_TEXTS.items())]
        self.findings(instance, reports, "the sample reports")
        counts = instance.take_tally()
        for what, count in counts.items():
            self.check(isinstance(what, str) and isinstance(count, int), f"it counts {what!r}: {count!r}; not a number")
            quoted = any(report.text.strip() and report.text.strip() in what for report in reports)
            self.check(not quoted, "a description of its `take_tally` holds the text of a report")
        self.check(not any(instance.take_tally().values()), "`take_tally` gives the same counts twice")

    def test_a_report_that_it_does_not_read_has_no_findings(self) -> None:
        """Of one that does not read every language (``LanguageAware``)."""
        instance = self.built()
        if not isinstance(instance, LanguageAware):
            return
        reports = [*self.reports(), *(Report("report-odd", text) for text in ODD_TEXTS.values())]
        for report, found in zip(reports, self.findings(instance, reports, "the sample reports"), strict=True):
            language = instance.foreign(report)
            self.check(
                language is None or isinstance(language, str), f"`foreign` gives {language!r}; not a name or None"
            )
            self.check(not (language and found), f"it has findings in a report that it does not read ({language})")

    def test_batch_size_is_a_number_of_reports(self) -> None:
        """Of one that says how many reports it is best given at once (``Batched``)."""
        instance = self.built()
        if isinstance(instance, Batched):
            size = instance.batch_size
            self.check(isinstance(size, int) and size > 0, f"`batch_size` is {size!r}; expected 1 or more")

    def test_works_after_pickling(self) -> None:
        instance, reports = self.built(), self.reports()
        copied = self.check_pickles(instance)
        self.check(
            self.findings(copied, reports, "the sample reports after pickling")
            == self.findings(instance, reports, "the sample reports"),
            "after pickling it gives other findings",
        )
