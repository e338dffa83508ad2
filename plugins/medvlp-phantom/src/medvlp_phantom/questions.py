"""Questions about the synthetic phantom, to try visual question answering without a download."""

from __future__ import annotations

from dataclasses import replace

from medvlp_phantom.source import PhantomSource
from medvlp_toolkit.data.records import Question, Study


class PhantomQuestionsSource(PhantomSource):
    """Phantoms with closed and open questions that only the image answers, and without reports.

    Of each study: whether a finding that it shows is there, whether one that it does not show is there, and for every
    finding with one box in which half of the picture it is.

    Args:
        seed, count, size, fractions, second_study_rate, mask_label: of
            :class:`~medvlp_phantom.source.PhantomSource`.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.phantom_questions
          count: 400
    """

    def study(self, index: int) -> Study:
        """The record of the study at a position."""
        study = super().study(index)
        asked: list[tuple[str, str, str, str]] = []
        for value, answer in ((1, "yes"), (0, "no")):
            names = [name for name, presence in study.labels.items() if presence == value]
            if names:
                name = names[index % len(names)]
                asked.append(("presence", "closed", f"Is there {name} in this image?", answer))
        for box in study.boxes:
            if [other.label for other in study.boxes].count(box.label) == 1:
                half = "left" if box.x + box.width / 2 < 0.5 else "right"
                asked.append(("side", "open", f"In which half of the picture is the {box.label}?", half))
        questions = tuple(
            Question(f"{study.id}/{number}", text, answer, category, kind, study.split)
            for number, (category, kind, text, answer) in enumerate(asked)
        )
        return replace(study, report=None, questions=questions)
