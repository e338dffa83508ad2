"""A plugin that breaks its contract fails with a sentence, and one that satisfies it passes."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import medvlp_toolkit as mv
from medvlp_toolkit import testing
from medvlp_toolkit.data.records import Box, Concept, Finding, Presence, Report, Study, Triple
from medvlp_toolkit.interfaces import BATCH_KEYS, FusionOutput, KeyReport
from medvlp_toolkit.model.encodings import Encodings
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel
from medvlp_toolkit.testing.suites.plugin import PluginSuite
from medvlp_toolkit.testing.suites.stand_in import Sizes, StandInFusion, stand_in_batch, stand_in_model, without_terms


@pytest.fixture
def offer() -> Iterator[Callable[..., Any]]:
    """Registers a plugin for one test and gives a suite that tries it."""
    offered: list[tuple[str, str]] = []

    def make(suite: type[PluginSuite], plugin: Any, **attributes: Any) -> Any:
        mv.registries[suite.kind].register("tried", plugin)
        offered.append((suite.kind, "tried"))
        return type("TestTried", (suite,), {"plugin": "tried", **attributes})()

    yield make
    for kind, name in offered:
        mv.registries[kind].unregister(name)


def rules(suite: Any) -> list[str]:
    return [name for name, _ in inspect.getmembers(type(suite), inspect.isfunction) if name.startswith("test_")]


def broken_rules(suite: Any) -> dict[str, str]:
    """Rule -> sentence, for every rule that the plugin breaks."""
    sentences = {}
    for name in rules(suite):
        try:
            getattr(suite, name)()
        except pytest.fail.Exception as failure:
            sentences[name] = str(failure)
        except pytest.skip.Exception:
            pass
    return sentences


def told(suite: Any, rule: str) -> str:
    """The sentence with which ``rule`` fails."""
    with pytest.raises(pytest.fail.Exception) as caught:
        getattr(suite, rule)()
    assert caught.value.pytrace is False, "a stack would be shown"
    sentence = str(caught.value)
    assert sentence.startswith(f"{suite.kind} plugin 'tried': ")
    assert "Traceback" not in sentence
    return sentence


# -- report filters ---------------------------------------------------------------------------


class GoodFilter:
    """Finds effusions.

    Args:
        word: what to look for.

    Example::

        report_filter:
          _target_: medvlp_toolkit.report_filters.tried
    """

    positions: Sequence[str] = ("left", "right")

    def __init__(self, word: str = "effusion") -> None:
        self.word = word
        self.entities = (word,)

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        return [self.read(report) for report in reports]

    def read(self, report: Report) -> list[Finding]:
        start = report.text.find(self.word)
        if start < 0:
            return []
        return [Finding(self.word, Presence.PRESENT, "left", (start, start + len(self.word)))]


class UndeclaredEntity(GoodFilter):
    def read(self, report: Report) -> list[Finding]:
        return [Finding("ghost", Presence.PRESENT)] if report.text.strip() else []


class ImpossibleSpan(GoodFilter):
    def read(self, report: Report) -> list[Finding]:
        return [replace(finding, span=(5, 10_000_000)) for finding in super().read(report)]


class FailsOnEmpty(GoodFilter):
    def read(self, report: Report) -> list[Finding]:
        report.text.split()[0]
        return super().read(report)


class RemembersReports(GoodFilter):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def read(self, report: Report) -> list[Finding]:
        self.seen += 1
        return super().read(report) if self.seen == 1 else []


class DropsEmptyLists(GoodFilter):
    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        return [found for found in super().__call__(reports) if found]


class CannotBePickled(GoodFilter):
    def __init__(self) -> None:
        super().__init__()
        self.strip = lambda text: text.strip()


class FindsInNothing(GoodFilter):
    def read(self, report: Report) -> list[Finding]:
        return super().read(report) or [Finding(self.word, Presence.ABSENT)]


class CountsItsWork(GoodFilter):
    __doc__ = GoodFilter.__doc__
    batch_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def read(self, report: Report) -> list[Finding]:
        self.counts["reports"] += 1
        return [] if self.foreign(report) else super().read(report)

    def take_tally(self) -> Counter[str]:
        taken, self.counts = self.counts, Counter()
        return taken

    def foreign(self, report: Report) -> str | None:
        return None if report.text.isascii() else "another language"


class CountsTwice(CountsItsWork):
    def take_tally(self) -> Counter[str]:
        return self.counts


class CountsTexts(CountsItsWork):
    def read(self, report: Report) -> list[Finding]:
        self.counts[f"no finding in: {report.text}"] += 1
        return super().read(report)


class ReadsWhatItDoesNot(CountsItsWork):
    def foreign(self, report: Report) -> str | None:
        return "English"

    def read(self, report: Report) -> list[Finding]:
        return GoodFilter.read(self, report)


class NoReportsAtOnce(CountsItsWork):
    batch_size = 0


@pytest.mark.parametrize("plugin", [GoodFilter, CountsItsWork])
def test_good_filter_keeps_every_rule(offer: Any, plugin: Any) -> None:
    assert broken_rules(offer(testing.ReportFilterSuite, plugin)) == {}


@pytest.mark.parametrize(
    ("plugin", "rule", "sentence"),
    [
        (UndeclaredEntity, "test_findings_use_declared_names_and_lie_in_the_text", "it finds 'ghost', which its `ent"),
        (ImpossibleSpan, "test_findings_use_declared_names_and_lie_in_the_text", r"span \(5, 10000000\) in a text of"),
        (FailsOnEmpty, "test_odd_reports_are_filtered_without_an_error", "an empty report raised IndexError: list"),
        (RemembersReports, "test_same_report_gives_the_same_findings", "the same reports give other findings"),
        (RemembersReports, "test_reports_do_not_influence_one_another", "depend on the reports that it is filtered"),
        (DropsEmptyLists, "test_findings_use_declared_names_and_lie_in_the_text", r"it gives \d lists for 4 reports"),
        (CannotBePickled, "test_works_after_pickling", "pickling it and reading it back, as worker processes need"),
        (FindsInNothing, "test_empty_report_has_no_findings", "it finds 1 things in an empty report"),
        (CountsTwice, "test_what_it_counts_is_plain_and_counted_once", "`take_tally` gives the same counts twice"),
        (
            CountsTexts,
            "test_what_it_counts_is_plain_and_counted_once",
            "of its `take_tally` holds the text of a report",
        ),
        (ReadsWhatItDoesNot, "test_a_report_that_it_does_not_read_has_no_findings", r"does not read \(English\)"),
        (NoReportsAtOnce, "test_batch_size_is_a_number_of_reports", "`batch_size` is 0; expected 1 or more"),
    ],
)
def test_broken_filter_is_reported(offer: Any, plugin: Any, rule: str, sentence: str) -> None:
    import re

    assert re.search(sentence, told(offer(testing.ReportFilterSuite, plugin), rule))


class FingerprintOfTheMoment(GoodFilter):
    @property
    def fingerprint(self) -> object:
        return id(self)


class FingerprintThatIsNoData(GoodFilter):
    fingerprint = {"effusion"}  # noqa: RUF012 - a set is what is wrong with it


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (FingerprintOfTheMoment, "two instances built alike have different fingerprints"),
        (FingerprintThatIsNoData, "writing its `fingerprint` as JSON raised TypeError"),
    ],
)
def test_a_fingerprint_that_a_store_cannot_compare_is_reported(offer: Any, plugin: Any, sentence: str) -> None:
    assert sentence in told(offer(testing.ReportFilterSuite, plugin), "test_fingerprint_is_plain_data")


def test_place_of_an_error_in_the_plugin_is_named(offer: Any) -> None:
    sentence = told(offer(testing.ReportFilterSuite, FailsOnEmpty), "test_odd_reports_are_filtered_without_an_error")
    line = inspect.getsourcelines(FailsOnEmpty.read)[1] + 1
    assert sentence.endswith(f"({__file__}:{line})")


def test_filter_of_another_language_brings_its_own_texts(offer: Any) -> None:
    class ErgussFilter(GoodFilter):
        def __init__(self) -> None:
            super().__init__("Erguss")

    suite = offer(testing.ReportFilterSuite, ErgussFilter)
    assert "set `texts` in the test class" in told(suite, "test_finds_something_in_the_samples")
    type(suite).texts = ("Kleiner Erguss links.",)
    suite.test_finds_something_in_the_samples()


def test_linker_says_nothing_about_presence(offer: Any) -> None:
    class Linker(GoodFilter):
        def read(self, report: Report) -> list[Finding]:
            return [replace(finding, presence=None) for finding in super().read(report)]

    rule = "test_findings_use_declared_names_and_lie_in_the_text"
    assert "set `presence = False`" in told(offer(testing.ReportFilterSuite, Linker), rule)
    mv.report_filters.unregister("tried")
    getattr(offer(testing.ReportFilterSuite, Linker, presence=False), rule)()


# -- documentation ----------------------------------------------------------------------------


def test_missing_documentation_is_reported(offer: Any) -> None:
    class Bare(GoodFilter):
        __doc__ = None

    suite = offer(testing.ReportFilterSuite, Bare)
    assert "it has no docstring" in told(suite, "test_documentation_has_a_summary_and_an_example")


def test_undocumented_argument_and_missing_example_are_reported(offer: Any) -> None:
    class Terse(GoodFilter):
        """Finds things."""

        def __init__(self, threshold: float = 0.5) -> None:
            super().__init__()

    suite = offer(testing.ReportFilterSuite, Terse)
    assert "does not name the arguments threshold" in told(suite, "test_documentation_names_every_argument")
    assert "no 'Example' block" in told(suite, "test_documentation_has_a_summary_and_an_example")


def test_example_of_another_plugin_is_reported(offer: Any) -> None:
    class Copied(GoodFilter):
        """Finds things.

        Example::

            report_filter:
              _target_: medvlp_toolkit.report_filters.rules
        """

    sentence = told(offer(testing.ReportFilterSuite, Copied), "test_example_is_yaml_that_addresses_this_plugin")
    assert sentence.endswith("expected _target_: medvlp_toolkit.report_filters.tried")


def test_plugin_that_cannot_be_built_is_reported_with_its_arguments(offer: Any) -> None:
    suite = offer(testing.ReportFilterSuite, GoodFilter, arguments={"wrod": "effusion"})
    assert "building it with the arguments wrod raised TypeError" in told(suite, "test_builds")


def test_name_that_is_not_registered_is_reported_with_the_nearest() -> None:
    suite = type("TestMissing", (testing.ReportFilterSuite,), {"plugin": "rulse"})()
    with pytest.raises(pytest.fail.Exception, match=r"no report_filters plugin named 'rulse'.*did you mean 'rules'"):
        suite.test_is_registered_under_its_name()


# -- knowledge and data sources ---------------------------------------------------------------


class GoodKnowledge:
    """Two concepts.

    Example:
        >>> GoodKnowledge()
    """

    concepts: Sequence[Concept] = (Concept("a", "Alpha", ("first",), "The first."), Concept("b", "Beta"))
    triples: Sequence[Triple] = (Triple("a", "before", "b"),)


class DanglingTriple(GoodKnowledge):
    triples = (Triple("a", "before", "z"),)


class RepeatedConcept(GoodKnowledge):
    concepts = (Concept("a", "Alpha"), Concept("a", "Again"))


class NamelessConcept(GoodKnowledge):
    concepts = (Concept("a", " "),)


class ShuffledConcepts(GoodKnowledge):
    turn = 1

    @property
    def concepts(self) -> Any:  # type: ignore[override]
        self.turn = -self.turn
        return GoodKnowledge.concepts[:: self.turn]


def test_good_knowledge_source_keeps_every_rule(offer: Any) -> None:
    assert broken_rules(offer(testing.KnowledgeSourceSuite, GoodKnowledge)) == {}


@pytest.mark.parametrize(
    ("plugin", "rule", "sentence"),
    [
        (DanglingTriple, "test_triples_relate_concepts_of_the_source", "names 'z', which is the id of none of its"),
        (RepeatedConcept, "test_concepts_have_an_id_and_a_name_each", "`concepts` names a twice"),
        (NamelessConcept, "test_concepts_have_an_id_and_a_name_each", "concept 'a' has name ' '"),
        (ShuffledConcepts, "test_contents_are_the_same_each_time_and_in_the_same_order", "a second time gives others"),
    ],
)
def test_broken_knowledge_source_is_reported(offer: Any, plugin: Any, rule: str, sentence: str) -> None:
    assert sentence in told(offer(testing.KnowledgeSourceSuite, plugin), rule)


class GoodData:
    """Two studies, drawn on the spot.

    Example:
        >>> list(GoodData())
    """

    def study(self, number: int) -> Study:
        return Study(f"s{number}", f"p{number}", None, boxes=(Box("nodule", 0.1, 0.2, 0.3, 0.3),), labels={"nodule": 1})

    def __iter__(self) -> Iterator[Study]:
        return map(self.study, range(2))

    def read_image(self, study: Study) -> Any:
        return np.full((1, 4, 4), int(study.id[1:]), np.uint8)


class OneShotData(GoodData):
    def __init__(self) -> None:
        self.left = [0, 1]

    def __iter__(self) -> Iterator[Study]:
        while self.left:
            yield self.study(self.left.pop(0))


class PatientlessData(GoodData):
    def study(self, number: int) -> Study:
        return replace(super().study(number), patient_id="")


class PixelBoxes(GoodData):
    def study(self, number: int) -> Study:
        return replace(super().study(number), boxes=(Box("nodule", 120, 80, 30, 30),))


class ChannelsLast(GoodData):
    def read_image(self, study: Study) -> Any:
        return np.zeros((4, 4, 1), np.uint8)


class MasksWithChannels(GoodData):
    def read_mask(self, study: Study) -> Any:
        return np.zeros((1, 4, 4), np.uint8)


class RejectsByName(GoodData):
    rejected = ("s7",)


class SharedIterator(GoodData):
    def __iter__(self) -> Iterator[Study]:
        self.current = super().__iter__()
        return self

    def __next__(self) -> Study:
        return next(self.current)


def test_good_data_source_keeps_every_rule(offer: Any) -> None:
    assert broken_rules(offer(testing.DataSourceSuite, GoodData)) == {}


@pytest.mark.parametrize(
    ("plugin", "rule", "sentence"),
    [
        (OneShotData, "test_iterating_again_gives_the_same_studies_in_the_same_order", "a second pass over it yields"),
        (PatientlessData, "test_studies_are_identified", "study 's0' has patient_id ''"),
        (PixelBoxes, "test_studies_hold_what_their_fields_say", "boxes are fractions of its size"),
        (ChannelsLast, "test_pixels_it_holds_itself_are_arrays_with_channels_first", "read_image gives (4, 4, 1)"),
        (MasksWithChannels, "test_masks_are_of_two_axes", "read_mask gives (1, 4, 4); expected an array (H, W)"),
        (RejectsByName, "test_what_it_rejects_is_recorded", "`rejected` holds a str; expected"),
        (
            SharedIterator,
            "test_two_passes_at_once_do_not_disturb_one_another",
            "disturb each other: let __iter__ return",
        ),
    ],
)
def test_broken_data_source_is_reported(offer: Any, plugin: Any, rule: str, sentence: str) -> None:
    assert sentence in told(offer(testing.DataSourceSuite, plugin), rule)


# -- encoders ---------------------------------------------------------------------------------


class GoodEncoder(nn.Module):
    """Patches of 8 pixels through one convolution.

    Example::

        image_encoder:
          _target_: medvlp_toolkit.encoders.tried
    """

    num_features = 6
    num_prefix_tokens = 0
    supports_masking = True

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 8, stride=8)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        tokens: Tensor = self.embed(image).flatten(2).transpose(1, 2)
        return tokens if keep is None else tokens.gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))

    def grid_size(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(size // 8 for size in image_shape)

    def summary(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)


class WrongGrid(GoodEncoder):
    def grid_size(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(size // 4 for size in image_shape)


class UnreadLayer(GoodEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(6, 2)


class BatchMixing(GoodEncoder):
    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        tokens = super().forward(image, keep)
        return tokens - tokens.mean(dim=0, keepdim=True)


class RandomInEvaluation(GoodEncoder):
    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        return nn.functional.dropout(super().forward(image, keep), 0.5, training=True)


class StateOutsideTheDict(GoodEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.randn(6)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(image, keep) + self.offset


class IgnoresKeep(GoodEncoder):
    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(image)


class DetachedFromTheImage(GoodEncoder):
    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(image.detach(), keep)


class NormalisesInPlace(GoodEncoder):
    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(image.sub_(image.mean()), keep)


class RefusesEmptyBatches(GoodEncoder):
    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        image[0]
        return super().forward(image, keep)


class SharesWeightsWithItsCopies(GoodEncoder):
    def __deepcopy__(self, memo: object) -> nn.Module:
        return self


class NotScriptable(GoodEncoder):
    def forward(self, image: Tensor, keep: Tensor | None = None, **options: Any) -> Tensor:
        return super().forward(image, keep)


def test_good_image_encoder_keeps_every_rule(offer: Any) -> None:
    assert broken_rules(offer(testing.ImageEncoderSuite, GoodEncoder, torchscript=True)) == {}


@pytest.mark.parametrize(
    ("plugin", "rule", "sentence"),
    [
        (WrongGrid, "test_gives_a_token_for_every_place_of_the_grid", "gives tokens (2, 64, 6); grid_size (16, 16)"),
        (UnreadLayer, "test_every_parameter_receives_a_gradient", "2 parameters receive no gradient (classifier.w"),
        (BatchMixing, "test_samples_do_not_influence_one_another_in_evaluation", "depend on the other samples"),
        (RandomInEvaluation, "test_evaluation_repeats_itself", "the same input gives another output each time"),
        (StateOutsideTheDict, "test_state_dict_restores_it", "some state is not in it"),
        (IgnoresKeep, "test_masked_pass_sees_only_the_kept_patches", "gives (2, 64, 6); expected (2, 16, 6)"),
        (DetachedFromTheImage, "test_gradient_reaches_the_image", "no gradient reaches the image"),
        (NormalisesInPlace, "test_input_is_not_changed", "a pass changes its input in place"),
        (RefusesEmptyBatches, "test_empty_batch_gives_no_features", "a batch without a sample raised IndexError"),
        (SharesWeightsWithItsCopies, "test_copies_of_it_give_the_same", "changing a copy's weights changes the"),
        (NotScriptable, "test_torchscript_gives_the_same", "torch.jit.script raised"),
    ],
)
def test_broken_image_encoder_is_reported(offer: Any, plugin: Any, rule: str, sentence: str) -> None:
    assert sentence in told(offer(testing.ImageEncoderSuite, plugin, torchscript=True), rule)


class LooksTooFar(GoodEncoder):
    def token_shift(self) -> tuple[float, ...]:
        return (0.5, 3.0)


class WrongFeatureMaps(GoodEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = 2, 3
        self.feature_channels, self.feature_strides = (6,), (4,)

    @torch.jit.unused
    def feature_maps(self, image: Tensor) -> list[Tensor]:
        return [self.embed(image)]


class ForgetsItsPositions(GoodEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.ones(64, 6))

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(image) + self.positional_embedding

    def fit_positions(self, positions: Tensor) -> Tensor:
        return torch.zeros(64, 6)


class DescribesAnotherSlope(GoodEncoder):
    """An encoder of a slope.

    Args:
        slope: what every feature is multiplied with.
    """

    def __init__(self, slope: float = 2.0) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        return self.slope * super().forward(image, keep)

    def architecture(self) -> dict[str, Any]:
        return {"slope": self.slope + 1}


@pytest.mark.parametrize(
    ("plugin", "rule", "sentence"),
    [
        (
            DescribesAnotherSlope,
            "test_is_built_again_from_its_own_description",
            "what its architecture() builds gives other features",
        ),
        (
            LooksTooFar,
            "test_tokens_that_look_elsewhere_say_where",
            "token_shift gives (0.5, 3.0); expected a tuple of 2",
        ),
        (
            WrongFeatureMaps,
            "test_feature_maps_are_as_declared",
            "are [(6, 8, 8)]; feature_channels and feature_strides",
        ),
        (
            ForgetsItsPositions,
            "test_position_embeddings_fit_themselves",
            "fit_positions changes the position embeddings",
        ),
    ],
)
def test_an_encoder_that_does_not_give_what_it_offers_is_reported(
    offer: Any, plugin: Any, rule: str, sentence: str
) -> None:
    assert sentence in told(offer(testing.ImageEncoderSuite, plugin), rule)


def test_admitted_unused_parameters_are_let_pass(offer: Any) -> None:
    suite = offer(testing.ImageEncoderSuite, UnreadLayer, unused_parameters=("classifier",))
    suite.test_every_parameter_receives_a_gradient()


class CountsTooFew:
    """A tokenizer whose length leaves out its last tokens."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, *texts: Any, **options: Any) -> Any:
        return self.inner(*texts, **options)

    def __len__(self) -> int:
        return 3


def test_text_encoder_whose_tokenizer_counts_too_few_tokens_is_reported(offer: Any) -> None:
    def counting(**arguments: Any) -> Any:
        encoder = mv.encoders.transformers_text(**arguments)
        encoder.tokenizer = CountsTooFew(encoder.tokenizer)
        return encoder

    suite = offer(
        testing.TextEncoderSuite,
        counting,
        arguments={
            "config": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
            "corpus": testing.TextEncoderSuite.texts,
        },
    )
    assert "len(tokenizer) is 3, and it gives the token" in told(
        suite, "test_takes_every_token_that_its_tokenizer_knows"
    )


def test_text_encoder_that_ignores_the_mask_is_reported(offer: Any) -> None:
    inner = mv.encoders.transformers_text

    class Unmasked(inner):  # type: ignore[misc, valid-type]
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            hidden: Tensor = super().forward(input_ids, torch.ones_like(attention_mask))
            return hidden

    suite = offer(
        testing.TextEncoderSuite,
        Unmasked,
        arguments={
            "config": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
            "corpus": testing.TextEncoderSuite.texts,
        },
    )
    assert "the mask is not heeded" in told(suite, "test_padding_does_not_change_a_text")


# -- fusion modules and losses ----------------------------------------------------------------


class GoodFusion(StandInFusion):
    """Text attends to the image.

    Example::

        fusion:
          _target_: medvlp_toolkit.fusion_modules.tried
    """

    def __init__(self) -> None:
        super().__init__(Sizes(width=8, pooled_width=4))


class AttentionUnasked(GoodFusion):
    def forward(self, *inputs: Any, need_attention: bool = False, **options: Any) -> FusionOutput:
        return super().forward(*inputs, need_attention=True, **options)


class TransposedAttention(GoodFusion):
    def forward(self, *inputs: Any, need_attention: bool = False, **options: Any) -> FusionOutput:
        fused = super().forward(*inputs, need_attention=need_attention, **options)
        return fused._replace(attention=None if fused.attention is None else fused.attention.transpose(2, 3))


class BlindFusion(GoodFusion):
    def forward(self, image: Tensor, text: Tensor, *more: Any, **options: Any) -> FusionOutput:
        fused = super().forward(image, text, *more, **options)
        return fused._replace(text=text + 0 * fused.text)


class BareTuple(GoodFusion):
    def forward(self, *inputs: Any, **options: Any) -> Any:
        fused = super().forward(*inputs, **options)
        return fused.image, fused.text


class PooledWithoutAWidth(GoodFusion):
    def __init__(self) -> None:
        super().__init__()
        del self.pooled_width


class PromisesAPooledFeature(GoodFusion):
    def forward(self, *inputs: Any, **options: Any) -> FusionOutput:
        return super().forward(*inputs, **options)._replace(pooled=None)


class ComputesAnotherText(GoodFusion):
    computes_parts = True

    def forward(self, *inputs: Any, compute: str = "all", **options: Any) -> FusionOutput:
        fused = super().forward(*inputs, **options)
        return fused._replace(text=2 * fused.text) if compute == "text" else fused


class SaysThatItReadsNoKnowledge(GoodFusion):
    reads_knowledge = False


FUSION = {"unused_parameters": ("pool", "to_image")}


def test_good_fusion_module_keeps_every_rule(offer: Any) -> None:
    assert broken_rules(offer(testing.FusionModuleSuite, GoodFusion, **FUSION)) == {}
    mv.fusion_modules.unregister("tried")
    assert broken_rules(offer(testing.FusionModuleSuite, GoodFusion, knowledge_width=8, **FUSION)) == {}


@pytest.mark.parametrize(
    ("plugin", "rule", "sentence"),
    [
        (
            AttentionUnasked,
            "test_attention_is_given_only_when_asked_for",
            "it returns attention that was not requested",
        ),
        (TransposedAttention, "test_attention_is_given_only_when_asked_for", "attention is (3, 1, 9, 5); expected (B"),
        (BlindFusion, "test_text_features_depend_on_image_and_text", "another image does not change the text features"),
        (BareTuple, "test_gives_features_of_its_width_for_image_and_text", "its forward gives tuple; expected"),
        (PooledWithoutAWidth, "test_pooled_feature_has_the_declared_width", "width 4, and its `pooled_width` is None"),
        (
            PromisesAPooledFeature,
            "test_pooled_feature_has_the_declared_width",
            "width None, and its `pooled_width` is 4",
        ),
        (ComputesAnotherText, "test_a_part_computed_alone_is_the_same", "compute='text' gives another text"),
    ],
)
def test_broken_fusion_module_is_reported(offer: Any, plugin: Any, rule: str, sentence: str) -> None:
    assert sentence in told(offer(testing.FusionModuleSuite, plugin, **FUSION), rule)


def test_fusion_module_that_is_tried_with_knowledge_and_says_it_reads_none_is_reported(offer: Any) -> None:
    suite = offer(testing.FusionModuleSuite, SaysThatItReadsNoKnowledge, knowledge_width=8)
    assert "its `reads_knowledge` is False" in told(suite, "test_says_whether_it_reads_knowledge")


class GoodLoss(nn.Module):
    """Whether each mentioned entity is there.

    Example::

        loss:
          _target_: medvlp_toolkit.pretext_losses.tried
    """

    needs = frozenset({"image", "entity_presence"})
    reads = frozenset({"image_encoder", "image_projection", "entity_projection", "fusion"})

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 1)

    def terms(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        presence = encodings.batch["entity_presence"].float()
        logits = self.head(encodings.fused(text="entities").text).squeeze(-1).float()
        told = (presence == 0) | (presence == 1)
        terms = nn.functional.binary_cross_entropy_with_logits(logits, presence.clamp(0, 1), reduction="none")
        return torch.where(told, terms, 0.0), told

    def forward(self, encodings: Encodings) -> Any:
        terms, told = self.terms(encodings)
        return terms.sum(), told.sum()


class MeanInsteadOfSum(GoodLoss):
    def forward(self, encodings: Encodings) -> Any:
        terms, told = self.terms(encodings)
        return terms.sum() / told.sum(), told.sum()


class OneNumber(GoodLoss):
    def forward(self, encodings: Encodings) -> Any:
        return super().forward(encodings)[0]


class UndeclaredKey(GoodLoss):
    needs = frozenset({"image"})


class UndeclaredPart(GoodLoss):
    reads = frozenset({"image_encoder", "image_projection", "fusion"})


class PartNotRead(GoodLoss):
    reads = GoodLoss.reads | {"text_encoder"}


class RequiresTheImpossible(GoodLoss):
    def requires(self, model: Any) -> list[str]:
        return [f"reads minds, and {type(model.fusion).__name__} cannot"]


class RequiresInOneString(GoodLoss):
    def requires(self, model: Any) -> str:
        return ""


class DisconnectedZero(GoodLoss):
    def forward(self, encodings: Encodings) -> Any:
        total, count = super().forward(encodings)
        return (total, count) if count > 0 else (torch.zeros(()), count)


class HalfPrecisionSum(GoodLoss):
    def forward(self, encodings: Encodings) -> Any:
        presence = encodings.batch["entity_presence"]
        total, count = super().forward(encodings)
        return total.to(self.head(encodings.fused(text="entities").text).dtype), count + 0 * presence.sum().long()


class DrawsItsOwn(GoodLoss):
    def forward(self, encodings: Encodings) -> Any:
        terms, told = self.terms(encodings)
        kept = told & (torch.rand(told.shape) > 0.5)
        return torch.where(kept, terms, 0.0).sum(), told.sum()


def test_good_loss_keeps_every_rule(offer: Any) -> None:
    assert broken_rules(offer(testing.PretextLossSuite, GoodLoss)) == {}


@pytest.mark.parametrize(
    ("plugin", "rule", "sentence"),
    [
        (MeanInsteadOfSum, "test_sums_and_counts_of_two_halves_add_up", "several ranks would not equal one"),
        (OneNumber, "test_gives_a_sum_and_how_many_terms_it_has", "does not give two tensors: the sum over its terms"),
        (UndeclaredKey, "test_reads_no_key_that_it_does_not_need", "it reads the batch key 'entity_presence', which"),
        (UndeclaredPart, "test_gradient_reaches_exactly_the_parts_it_reads", "its gradient reaches entity_projection"),
        (
            PartNotRead,
            "test_gradient_reaches_exactly_the_parts_it_reads",
            "`reads` names text_encoder, and no gradient",
        ),
        (RequiresTheImpossible, "test_says_what_it_requires_of_the_parts", "and it reads minds, and StandInFusion"),
        (RequiresInOneString, "test_says_what_it_requires_of_the_parts", "gives ''; expected a list of clauses"),
        (DisconnectedZero, "test_batch_without_a_term_gives_a_connected_zero", "is cut off from the head"),
        (HalfPrecisionSum, "test_sum_is_float32_under_bfloat16_autocast", "autocast the sum is torch.bfloat16"),
        (DrawsItsOwn, "test_evaluation_repeats_itself", "draw only what is absent from the batch"),
    ],
)
def test_broken_loss_is_reported(offer: Any, plugin: Any, rule: str, sentence: str) -> None:
    assert sentence in told(offer(testing.PretextLossSuite, plugin), rule)


def test_loss_with_keys_of_its_own_is_reported_to_supply_them(offer: Any) -> None:
    class OwnKey(GoodLoss):
        needs = GoodLoss.needs | {"sharpness"}

    suite = offer(testing.PretextLossSuite, OwnKey)
    assert "`needs` names sharpness, not in the batch table" in told(
        suite, "test_gives_a_sum_and_how_many_terms_it_has"
    )


# -- checkpoint importers ---------------------------------------------------------------------


def published() -> dict[str, Tensor]:
    return {"embed.weight": torch.randn(6, 3, 8, 8), "embed.bias": torch.randn(6), "head.bias": torch.randn(1)}


def strict_importer(state_dict: dict[str, Tensor], scale: float = 1.0) -> PretrainingModel:
    """Reads a convolution and a bias.

    Args:
        state_dict: of the published model.
        scale: of nothing.

    Example:
        >>> strict_importer(published())
    """
    torch.manual_seed(0)
    loss = GoodLoss()
    model = VisionLanguageModel(GoodEncoder(), GoodFusion(), entity_bank=torch.zeros(2, 8))
    wanted = {"embed.weight", "embed.bias", "head.bias"}
    wrong = sorted(wanted ^ set(state_dict))
    if wrong:
        raise ValueError(f"these keys are missing or foreign: {', '.join(wrong)}")
    places = {**model.image_encoder.state_dict(), "head.bias": loss.head.bias.data}
    for name, value in state_dict.items():
        if value.shape != places[name].shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}, expected {tuple(places[name].shape)}")
        places[name].copy_(value)
    return PretrainingModel(model, {"presence": loss})


def lenient_importer(state_dict: dict[str, Tensor]) -> PretrainingModel:
    """Reads a bias where it fits and says nothing of the rest."""
    model = strict_importer({name: torch.zeros_like(value) for name, value in published().items()})
    bias = state_dict.get("embed.bias")
    if bias is not None and bias.shape == (6,):
        model.model.image_encoder.embed.bias.data.copy_(bias)  # type: ignore[union-attr, operator]
    return model


def drawing_importer(state_dict: dict[str, Tensor]) -> PretrainingModel:
    """Leaves a head as it was drawn."""
    model = strict_importer(state_dict)
    unseeded = torch.Generator()
    unseeded.seed()
    nn.init.normal_(model.losses["presence"].head.bias, generator=unseeded)  # type: ignore[arg-type, union-attr]
    return model


class ImporterSuite(testing.CheckpointImporterSuite):
    def state_dict(self) -> dict[str, Tensor]:
        torch.manual_seed(5)
        return published()


def test_strict_importer_keeps_every_rule(offer: Any) -> None:
    assert broken_rules(offer(ImporterSuite, strict_importer, arguments={"scale": 2.0})) == {}


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("test_missing_key_is_refused", "a checkpoint with a key missing ('embed.bias') was accepted; expected ValueE"),
        ("test_foreign_key_is_refused_by_name", "a checkpoint with a foreign key"),
        (
            "test_wrong_shape_is_refused_by_name",
            "a checkpoint with a tensor of another shape ('head.bias') was accepted",
        ),
        ("test_checkpoint_of_another_model_is_refused", "the state dict of another model was accepted"),
        ("test_values_of_the_checkpoint_are_in_the_model", "of 1159 values of the checkpoint only 6 change"),
    ],
)
def test_lenient_importer_is_reported(offer: Any, rule: str, sentence: str) -> None:
    assert sentence in told(offer(ImporterSuite, lenient_importer), rule)


def reporting_importer(state_dict: dict[str, Tensor]) -> PretrainingModel:
    """Says what became of one key."""
    model = strict_importer(state_dict)
    model.key_report = KeyReport(used={"embed.weight": "model.image_encoder.embed.weight"})  # type: ignore[assignment]
    return model


reporting_importer.text_width = lambda state_dict: 0  # type: ignore[attr-defined]
reporting_importer.network_def = lambda model: "a network"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("test_says_what_became_of_every_key", "its key_report does not mention embed.bias, head.bias"),
        ("test_says_how_wide_descriptions_are", "text_width gives 0; expected a positive int"),
        ("test_makes_the_network_of_inference", "network_def gives a str; expected a torch.nn.Module"),
    ],
)
def test_importer_that_does_not_give_what_it_offers_is_reported(offer: Any, rule: str, sentence: str) -> None:
    assert sentence in told(offer(ImporterSuite, reporting_importer), rule)


def test_importer_that_leaves_a_part_as_drawn_is_reported(offer: Any) -> None:
    sentence = told(offer(ImporterSuite, drawing_importer), "test_same_checkpoint_gives_the_same_model")
    assert "importing twice gives other values for losses.presence.head.bias" in sentence


# -- the stand-in and the package -------------------------------------------------------------


def test_stand_in_batch_has_every_key_of_the_table_and_no_other() -> None:
    assert set(stand_in_batch(BATCH_KEYS, Sizes())) == BATCH_KEYS
    with pytest.raises(KeyError):
        stand_in_batch({"no_such_key"}, Sizes())


def test_stand_in_model_answers_every_view_of_a_batch() -> None:
    sizes = Sizes()
    encodings = Encodings(stand_in_model(sizes), stand_in_batch(BATCH_KEYS, sizes))
    for text, length in (("report", sizes.text_tokens), ("masked", sizes.text_tokens), ("entities", sizes.entities)):
        for image in ("full", "negative"):
            fused = encodings.fused(text=text, image=image)  # type: ignore[arg-type]
            assert fused.text.shape == (sizes.batch, length, sizes.width)
            assert fused.image.shape == (sizes.batch, sizes.image_tokens, sizes.width)
            assert fused.pooled is not None
            assert fused.pooled.shape == (sizes.batch, sizes.pooled_width)


def test_batch_without_terms_says_nothing_of_any_entity() -> None:
    silent = without_terms(stand_in_batch({"image", "entity_presence", "masked_labels", "targets"}, Sizes()))
    assert silent is not None
    assert set(silent["entity_presence"].unique().tolist()) == {-1}
    assert set(silent["masked_labels"].unique().tolist()) == {-100}
    assert set(silent["targets"].unique().tolist()) == {-1}
    assert without_terms(stand_in_batch({"image"}, Sizes())) is None


def test_package_is_light_and_lists_its_suites() -> None:
    program = (
        "import sys, medvlp_toolkit.testing as t\n"
        "assert not {'torch', 'pytest', 'numpy'} & set(sys.modules), 'importing the package is heavy'\n"
        "t.ReportFilterSuite\n"
        "assert 'pytest' in sys.modules and 'torch' not in sys.modules, 'a filter needs no torch'\n"
        "assert set(t.__all__) <= set(dir(t))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert all(issubclass(getattr(testing, name), PluginSuite) for name in testing.__all__)
    with pytest.raises(AttributeError):
        _ = testing.NoSuchSuite  # type: ignore[attr-defined]


def test_every_kind_has_a_suite() -> None:
    kinds = {getattr(testing, name).kind for name in testing.__all__}
    assert kinds == set(mv.registries)


def test_pytest_shows_the_sentence_and_no_stack(fake_packages: Path, tmp_path: Path) -> None:
    (tmp_path / "test_acme.py").write_text(
        "from medvlp_toolkit.testing import ReportFilterSuite\n\n\n"
        "class TestAcme(ReportFilterSuite):\n    plugin = 'acme'\n\n\n"
        "class TestBroken(ReportFilterSuite):\n    plugin = 'broken'\n"
    )
    path = os.pathsep.join([str(fake_packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert ran.returncode == 1
    assert "TestAcme" not in ran.stdout  # none of its rules failed
    assert "report_filters plugin 'broken' of broken-filters 0.1 cannot be imported" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert "plugin.py:" not in ran.stdout
