"""Questions about phantoms are answered by what was painted."""

from __future__ import annotations

from medvlp_phantom.questions import PhantomQuestionsSource


def test_answers_are_the_truth_about_the_image() -> None:
    seen = set()
    for study in PhantomQuestionsSource(seed=2, count=60, size=32):
        assert study.report is None
        boxes = {box.label: box for box in study.boxes}
        for question in study.questions:
            seen.add((question.category, question.answer))
            assert question.split == study.split
            name = next(name for name in sorted(study.labels, key=len, reverse=True) if name in question.text)
            if question.category == "presence":
                assert question.answer == ("yes" if study.labels[name] == 1 else "no")
            else:
                centre = boxes[name].x + boxes[name].width / 2
                assert (question.answer == "left") == (centre < 0.5)
    assert seen == {("presence", "yes"), ("presence", "no"), ("side", "left"), ("side", "right")}


def test_ids_of_questions_are_unique() -> None:
    ids = [question.id for study in PhantomQuestionsSource(count=40, size=32) for question in study.questions]
    assert len(set(ids)) == len(ids)
