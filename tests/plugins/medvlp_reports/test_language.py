"""A language that the lexicon does not read is noticed, named, and gives no finding; another's words may be added."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_reports.language import OTHER, LanguageCheck, languages
from medvlp_reports.lexicon import default_lexicon, shipped_lexicon
from medvlp_reports.rules import RuleFilter
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.data.records import Report
from medvlp_toolkit.preparing.prepare import Prepare
from tests.rejections import read_rejected

FOREIGN = {
    "German": "Kein Pneumothorax. Herz normal groß, Konsolidierung nicht nachweisbar.",
    "Spanish": "Sin neumotórax. Silueta cardíaca de tamaño normal. No se observa derrame pleural.",
    "French": "Pas de pneumothorax. Silhouette cardiaque de taille normale, sans épanchement pleural.",
    "Portuguese": "Não há pneumotórax. Área cardíaca dentro dos limites da normalidade.",
    "Italian": "Non si osserva pneumotorace. Ombra cardiaca nei limiti della norma.",
    "Dutch": "Geen pneumothorax. Het hart is normaal van grootte, geen consolidatie.",
    "Swedish": "Ingen pneumothorax. Hjärtat är inte förstorat, och inga infiltrat.",
    "Danish or Norwegian": "Ingen pneumothorax. Hjertet er ikke forstørret, og ingen infiltrater.",
    "Finnish": "Ei pneumothoraxia. Sydän on normaalin kokoinen eikä infiltraatteja.",
    "Polish": "Bez odmy. Serce nie jest powiększone, płuca bez zmian ogniskowych.",
    "Czech or Slovak": "Bez pneumotoraxu. Srdce není zvětšené, infiltrát nezjištěn.",
    "Hungarian": "Pneumothorax nincs. A szív nem nagyobb, és infiltrátum sem látható.",
    "Romanian": "Fără pneumotorax. Cordul nu este mărit și plămânii sunt fără leziuni.",
    "Turkish": "Pnömotoraks saptanmadı. Kalp boyutu doğaldır ve plevral effüzyon yoktur.",
    "Vietnamese": "Không có tràn khí màng phổi. Bóng tim không to.",
    "Indonesian or Malay": "Tidak tampak pneumothorax. Jantung tidak membesar dan paru normal.",
    "a language in Cyrillic script": "Пневмоторакс не выявлен. Тень сердца не расширена.",
    "Greek": "Δεν υπάρχει πνευμοθώρακας. Καρδιά φυσιολογική.",
    "a language in Arabic script": "لا يوجد استرواح الصدر. حجم القلب طبيعي.",
    "Hebrew": "אין חזה אוויר. הלב אינו מוגדל.",
    "Chinese": "未见气胸。心影不大，CT未见胸腔积液。",
    "Japanese": "気胸を認めません。胸水なし。",
    "Korean": "기흉 없음. 심장 크기 정상.",
    "Thai": "ไม่พบลมรั่วในช่องเยื่อหุ้มปอด",
    "a language in Devanagari script": "न्यूमोथोरैक्स नहीं है। हृदय सामान्य है।",
}
SENTENCES = yaml.safe_load(Path(__file__).with_name("sentences.yaml").read_text(encoding="utf-8"))
TERSE = [
    "No PTX. ETT 3 cm above carina.", "Stable.", "Normal chest.", "RLL pneumonia", "cardiomegaly, CHF", "Lungs clear",
    "PA AND LATERAL CHEST: NEGATIVE", "s/p CABG, LVAD, ICD leads RA/RV", "De novo pneumothorax.", "Port-a-cath tip SVC",
    "Non-displaced fx", "NAD", "XXXX XXXX XXXX", "ET tube and NG tube in situ", "Kyphoplasty L1",
]  # fmt: skip


@pytest.fixture(scope="module")
def check() -> LanguageCheck:
    return LanguageCheck(default_lexicon())


@pytest.mark.parametrize("name", FOREIGN)
def test_a_report_in_another_language_is_named(check: LanguageCheck, name: str) -> None:
    assert check.other_language(FOREIGN[name]) == name


@pytest.mark.parametrize("name", FOREIGN)
def test_a_report_in_another_language_has_no_finding(name: str) -> None:
    report = Report("1", FOREIGN[name])
    rules = RuleFilter()
    assert rules([report]) == [[]]
    assert rules.mentions(report) == []
    assert rules.foreign(report) == name
    assert rules.take_tally() == {f"reports in {name}, not read": 1}


def test_english_is_never_taken_for_another_language(check: LanguageCheck) -> None:
    texts = [sentence for cases in SENTENCES.values() for sentence, _ in cases] + TERSE
    assert [(text, found) for text in texts if (found := check.other_language(text))] == []
    assert [(text, found) for text in texts if (found := check.of_statement(text))] == []


def test_words_that_no_language_known_here_has_are_another_language(check: LanguageCheck) -> None:
    assert check.other_language("Ez dago pneumotoraxik, bihotza tamaina arruntekoa da.") == OTHER
    assert check.other_language("effusion") is None


def test_a_statement_in_another_language_within_an_english_report_is_not_read() -> None:
    rules = RuleFilter()
    report = Report(
        "1", "Small left effusion. Pas de pneumothorax, sans atelectasis. The heart is normal in size. No edema."
    )
    (found,) = rules([report])
    assert [finding.entity for finding in found] == ["effusion", "normal", "edema"]
    assert rules.take_tally() == {"statements in another language, not read": 1}
    assert rules([report]) == [found]  # known sentences are counted too
    assert rules.take_tally() == {"statements in another language, not read": 1}


def test_reading_it_all_the_same_is_a_choice() -> None:
    report = Report("1", FOREIGN["French"])
    rules = RuleFilter(on_foreign="read")
    assert [finding.entity for finding in rules([report])[0]] != []
    assert rules.foreign(report) is None
    assert rules.fingerprint != RuleFilter().fingerprint
    with pytest.raises(ValueError, match="on_foreign is 'skip' or 'read', not 'ask'"):
        RuleFilter(on_foreign="ask")  # type: ignore[arg-type]


@pytest.mark.parametrize("own", ["german", "spanish"])
def test_each_lexicon_reads_its_own_language_and_no_other(own: str) -> None:
    check = LanguageCheck(shipped_lexicon(own))
    assert check.other_language(FOREIGN[own.capitalize()]) is None
    assert check.other_language("No pneumothorax. The heart is normal in size. There is no effusion.") == "English"
    for name in ("French", "Polish", "Chinese", "a language in Cyrillic script"):
        assert check.other_language(FOREIGN[name]) == name


def test_the_sentences_of_a_language_are_in_it() -> None:
    for name in ("german", "spanish"):
        check = LanguageCheck(shipped_lexicon(name))
        cases = yaml.safe_load(Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8"))
        texts = [sentence for group in cases.values() for sentence, _ in group]
        assert [text for text in texts if check.of_statement(text)] == []
        assert check.other_language(" ".join(texts)) is None


def test_every_language_of_the_list_has_words_of_its_own() -> None:
    for code, language in languages().items():
        others = [other.words | other.negations for key, other in languages().items() if key != code]
        assert (language.words | language.negations).difference(*others), code


def test_what_is_known_of_a_report_travels_to_other_processes() -> None:
    rules = RuleFilter(lexicon="german")
    report = Report("1", "Kein Erguss im linken Randwinkel.")
    assert pickle.loads(pickle.dumps(rules))([report]) == rules([report]) != [[]]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "reports.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "text", "image", "patient_id"])
        texts = ["No effusion.", FOREIGN["Spanish"], FOREIGN["Chinese"], FOREIGN["Spanish"], "Small effusion."]
        writer.writerows([str(number), text, f"{number}.png", f"p{number}"] for number, text in enumerate(texts))
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, list(map(str, arguments)))
    return ended.exit_code, ended.stdout, ended.stderr


def test_filter_names_the_language_of_each_report_and_counts_them(table: Path, tmp_path: Path) -> None:
    status, shown, _ = run("filter", table, "--filter", "rules", "--out", tmp_path / "f.jsonl")
    assert status == 0
    assert "\nreports in Spanish, not read: 2\n" in shown
    assert "\nreports in Chinese, not read: 1\n" in shown
    lines = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert [line.get("language") for line in lines] == [None, "Spanish", "Chinese", "Spanish", None]
    assert [len(line["findings"]) for line in lines] == [1, 0, 0, 0, 1]


def test_label_lists_the_reports_that_it_did_not_read(table: Path, tmp_path: Path) -> None:
    status, shown, _ = run("label", table, "--scheme", "nih14", "--out", tmp_path / "labels.csv")
    assert status == 0
    assert "left out: 3 (2 × in Spanish, which the lexicon does not read, 1 × in Chinese, which the lexicon" in shown
    with (tmp_path / "rejected.csv").open() as stream:
        assert [row["place"] for row in csv.DictReader(stream)] == ["reports.csv:3", "reports.csv:4", "reports.csv:5"]
    with (tmp_path / "labels.csv").open() as stream:
        assert [(row["id"], row["Effusion"]) for row in csv.DictReader(stream)] == [("0", "0"), ("4", "1")]
    assert shown.endswith("rows: 5 read = 2 used + 3 rejected\n")
    limited = run("label", table, "--scheme", "nih14", "--out", tmp_path / "l.csv", "--max-rejected", 2)
    assert limited[0] == 1


def test_labelling_reports_that_are_all_in_another_language_fails(tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text(f"id,text\n1,{FOREIGN['Polish']!r}\n".replace("'", '"'), encoding="utf-8")
    status, _, said = run("label", tmp_path / "reports.csv", "--scheme", "nih14", "--out", tmp_path / "labels.csv")
    assert status == 1
    assert said.endswith("reports.csv: none of its 1 reports could be read\n")


def test_prepare_leaves_it_out_with_its_language(table: Path, tmp_path: Path) -> None:
    source = mv.data_sources.csv(file=table, report_column="text", id_column="id")
    summary = Prepare(source, tmp_path / "store", image_size=None, report_filter=RuleFilter(), workers=0).run()
    assert summary.rejected == {"another language": 3}
    assert summary.tally == ("reports in Spanish, not read: 2", "reports in Chinese, not read: 1")
    assert {item.detail for item in read_rejected(tmp_path / "store" / "rejected.csv")} == {"Spanish", "Chinese"}


CHINESE = """\
extends: concepts
tokens: {language: zh, stemmer: none}
findings:
- {concept: pleural_effusion, phrases: [胸腔积液, 胸水]}
- {concept: pneumothorax, phrases: [气胸]}
- {concept: opacity, phrases: [斑片影]}
- {concept: normal, adjectives: [正常]}
anatomy:
  sides: {left: [左侧, 左], right: [右侧, 右], bilateral: [双侧, 双]}
  levels: {lower: [下], upper: [上]}
  organs: {lung: {phrases: [肺]}, heart: {phrases: [心影, 心脏]}}
cues:
  absent_before: [未见, 无]
  possible_before: [可能, 不除外]
  alternatives: [或]
"""
RUSSIAN = """\
extends: concepts
tokens: {language: ru, stemmer: russian}
findings:
- {concept: pneumothorax, phrases: [пневмоторакс]}
- {concept: pleural_effusion, phrases: ["(плевральный)? выпот"]}
- {concept: enlargement, adjectives: [расширен, увеличен]}
anatomy:
  sides: {left: [слева, левый], right: [справа, правый]}
  organs: {heart: {phrases: [сердце, тень сердца]}}
cues:
  absent_before: ["не", без]
  absent_either: [нет]
  conjunctions: [и]
  alternatives: [или]
"""


@pytest.mark.parametrize(
    ("lexicon", "text", "expected"),
    [
        (CHINESE, "左侧少量胸腔积液。未见气胸。", "pleural_effusion+@left_pleural pneumothorax-"),
        (CHINESE, "右下肺斑片影，可能胸水。", "opacity+@right_lower_lung pleural_effusion?@right_pleural"),
        (CHINESE, "心影正常，未见胸腔积液或气胸", "normal_heart+@heart_size pleural_effusion- pneumothorax-"),
        (RUSSIAN, "Плевральный выпот слева. Пневмоторакса нет.", "pleural_effusion+@left_pleural pneumothorax-"),
        (RUSSIAN, "Без выпота и пневмоторакса, сердце расширено.", "pleural_effusion- pneumothorax-"),
    ],
)
def test_a_language_of_ones_own_in_any_script(tmp_path: Path, lexicon: str, text: str, expected: str) -> None:
    (tmp_path / "own.yaml").write_text(lexicon, encoding="utf-8")
    (found,) = RuleFilter(lexicon=tmp_path / "own.yaml")([Report("1", text)])
    signs = {"present": "+", "absent": "-", "uncertain": "?"}
    said = {f"{f.concept_id}{signs[str(f.presence)]}" + (f"@{f.position}" if f.position else "") for f in found}
    assert set(expected.split()) <= said
    assert all(text[slice(*f.span or (0, 0))].strip() for f in found)


def test_accents_written_apart_and_left_out_are_read_alike() -> None:
    rules = RuleFilter(lexicon="spanish")
    written = ["No se observa neumot\u00f3rax.", "No se observa neumoto\u0301rax.", "No se observa neumotorax."]
    assert [[f.concept_id for f in rules([Report("1", text)])[0]] for text in written] == [["pneumothorax"]] * 3
