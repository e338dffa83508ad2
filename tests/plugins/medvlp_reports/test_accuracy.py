"""The measures against public annotations: on made-up ones, and on the real ones where they are at hand."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from medvlp_reports.accuracy.negex_kit import negation_agreement, read_kit
from medvlp_reports.accuracy.open_i_places import (
    BOTH,
    place_agreement,
    read_reports,
    side_outcome,
    zone_outcome,
)
from medvlp_toolkit.data.records import Finding, Presence

LEFT = frozenset(["left"])


def at(*positions: str | None) -> list[Finding]:
    return [Finding("opacity", Presence.PRESENT, position) for position in positions]


@pytest.mark.parametrize(
    ("expected", "positions", "outcome"),
    [
        (LEFT, ["left_lower_lung"], "exact"),
        (LEFT, ["left_lower_lung", None], "exact"),
        (LEFT, ["left_lower_lung", "right_lower_lung"], "more"),
        (LEFT, ["right_lower_lung"], "wrong"),
        (LEFT, ["lung_bases"], "none"),
        (LEFT, [None], "none"),
        (LEFT, [], "not found"),
        (BOTH, ["lung_bases"], "exact"),
        (BOTH, ["left_lower_lung", "right_lower_lung"], "exact"),
        (BOTH, ["left_lower_lung"], "more"),
        (BOTH, [None], "none"),
    ],
)
def test_a_side_is_exact_more_wrong_or_none(expected: frozenset[str], positions: list[str], outcome: str) -> None:
    assert side_outcome(expected, at(*positions)) == outcome


def test_a_zone_is_detected_by_the_words_of_a_position() -> None:
    base, upper = frozenset(["lower", "bases"]), frozenset(["upper", "left_mid"])
    assert zone_outcome([base], at("lung_bases")) == "exact"
    assert zone_outcome([upper], at("left_mid_lung")) == "exact"
    assert zone_outcome([upper], at("right_mid_lung")) == "wrong"
    assert zone_outcome([base, upper], at("lung_bases")) == "more"
    assert zone_outcome([base], at("left_pleural")) == "none"


def archive(folder: Path, *reports: tuple[str, str, list[str]]) -> Path:
    """An archive of Open-i's form: id, findings, MeSH terms."""
    path = folder / "reports.tgz"
    with tarfile.open(path, "w:gz") as files:
        for uid, findings, terms in reports:
            mesh = "".join(f"<major>{term}</major>" for term in terms)
            content = (
                f'<eCitation><uId id="{uid}"/><Abstract><AbstractText Label="FINDINGS">{findings}</AbstractText>'
                f"</Abstract><MeSH>{mesh}</MeSH></eCitation>"
            ).encode()
            member = tarfile.TarInfo(f"{uid}.xml")
            member.size = len(content)
            files.addfile(member, io.BytesIO(content))
    return path


def test_places_are_compared_with_the_terms_of_the_reports(tmp_path: Path) -> None:
    path = archive(
        tmp_path,
        ("CXR1", "Small left effusion. Right basilar atelectasis.", [
            "Pleural Effusion/left/small", "Pulmonary Atelectasis/base/right"
        ]),
        ("CXR2", "Atelectasis at the left base.", ["Pulmonary Atelectasis/base/right"]),
        ("CXR3", "Heart is normal. Rib fracture.", ["normal", "Fractures, Bone/ribs/left"]),
    )  # fmt: skip
    agreement = place_agreement(read_reports(path))
    assert dict(agreement.sides) == {"exact": 2, "wrong": 1}
    assert dict(agreement.zones) == {"exact": 2}
    assert agreement.wrong == [("CXR2", "Pulmonary Atelectasis")]
    assert agreement.share(agreement.sides) == pytest.approx(2 / 3)


def test_the_measure_is_a_command_that_names_a_wrong_file(tmp_path: Path) -> None:
    module = [sys.executable, "-m", "medvlp_reports.accuracy.open_i_places"]
    path = archive(tmp_path, ("CXR1", "Small left effusion.", ["Pleural Effusion/left"]))
    ran = subprocess.run([*module, path], capture_output=True, text=True)
    assert ran.returncode == 0
    assert ran.stdout.startswith("side: 100.0% exact of those found (1 pairs: 1 exact, 0 more, 0 wrong, 0 none, 0 not")
    path.write_bytes(b"no archive")
    ran = subprocess.run([*module, path], capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"open_i_places: {path}: not readable as a .tgz of Open-i's reports")
    assert len(ran.stderr.splitlines()) == 1


KIT = """Report No.\tConcept\tSentence\tNegation
1\tchest pain\tThe patient denies CHEST PAIN or dyspnea.\tNegated
1\tpalpitations\tHe has PALPITATIONS but no syncope.\tAffirmed
1\tsyncope\tHe has palpitations but no SYNCOPE.\tNegated
1\tischemic   colitis\tISCHEMIC COLITIS was not seen.\tNegated
1\tfever\tNo cough, and FEVER persists.\tNegated
"""


def test_the_kits_concepts_are_added_and_their_negation_compared(tmp_path: Path) -> None:
    path = tmp_path / "kit.txt"
    path.write_text(KIT, encoding="utf-8")
    agreement = negation_agreement(read_kit(path))
    assert (agreement.true_positives, agreement.true_negatives, agreement.false_negatives) == (3, 1, 1)
    assert [line.concept for line in agreement.missed] == ["fever"]
    assert agreement.accuracy == pytest.approx(4 / 5)


def test_a_file_that_is_no_kit_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "kit.txt"
    path.write_text(KIT + "1\tfever\tFEVER.\tperhaps\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"kit\.txt, line 7: expected report, concept, sentence, and Aff"):
        read_kit(path)


@pytest.mark.slow
def test_places_agree_with_the_open_i_terms() -> None:
    """The bars of docs/report_filters.md; the reports come with the package torchxrayvision."""
    package = find_spec("torchxrayvision")
    if package is None or package.origin is None:
        pytest.skip("needs the package torchxrayvision, which carries the Open-i reports")
    agreement = place_agreement(read_reports(Path(package.origin).with_name("data") / "NLMCXR_reports.tgz"))
    assert agreement.wrong == []
    assert agreement.share(agreement.sides) >= 0.92
    assert agreement.share(agreement.zones) >= 0.85
