"""The commands of a class: exercise (with its quiz and report), check, and class new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from cleaner.cli.options import stated_default
from cleaner.cli.output import Progress, format_table, print_json
from cleaner.exercises import course, quiz
from cleaner.exercises.content import QUIZ, find_exercise, read_content
from cleaner.exercises.tasks import HIDDEN, show_table
from cleaner.types import CleanerError

Pairs = tuple[str, ...]
NAMES = Literal["plant", "trigger", "rate", "texts", "survive", "quiz", "report"]


@dataclass(frozen=True)
class Exercise:
    """Work on an exercise: read it, commit a prediction, answer, and see hints. Or take the quiz, or report on it."""

    name: Annotated[NAMES, tyro.conf.Positional]
    student: Annotated[str, tyro.conf.arg(help="Your ID; the task derives from it.")] = "me"
    commit: Annotated[Pairs, stated_default(metavar="KEY=VALUE ...", help="Prediction, which stays.")] = ()
    answer: Annotated[Pairs, stated_default(metavar="KEY=VALUE ...", help="Answers; of the quiz, six numbers.")] = ()
    round: Annotated[Literal["before", "after"], tyro.conf.arg(help="Round of the quiz.")] = "before"
    folder: Annotated[
        Path | None, stated_default(help="Folder of the students, or of collected answers for report.")
    ] = None
    sheet: Annotated[bool, tyro.conf.arg(help="Write the printable sheet too.")] = False
    json: Annotated[bool, tyro.conf.arg(help="Print the report as JSON.")] = False

    def run(self) -> None:
        if self.name == "report":
            self._report(self.folder or course.students_root())
            return
        own = course.find_student(self.student, self.folder)
        if self.sheet:
            print(f"Sheet: {course.write_sheet(own)}")
        if self.name == QUIZ:
            self._take_quiz(own)
            return
        if self.name == HIDDEN:
            course.train_practice_model(own, Progress("your model"))
        if self.commit:
            print(f"Committed. Write down the code: {course.commit(own, self.name, _split(self.commit))}")
        if self.answer:
            print(*course.submit(own, self.name, _split(self.answer)) or ["All right."], sep="\n")
            return
        self._describe(own)

    def _describe(self, own: Path) -> None:
        """Print the task, what the student may see of its table, and what to give next."""
        exercise, is_revealed = find_exercise(self.name), bool(course.read_entry(own, self.name))
        print(f"{exercise.title}: {exercise.goal}\n")
        print(
            *(f"{i}. {step}" for i, step in enumerate(course.list_steps(own, self.name, str(own / course.MODEL)), 1)),
            sep="\n",
        )
        if rows := show_table(self.name, course.read_task(own, self.name), is_revealed=is_revealed):
            print(format_table([[str(cell) for cell in row.values()] for row in rows], list(rows[0])))
        option = "--answer" if is_revealed else "--commit"
        for field in exercise.list_fields(is_prediction=not is_revealed):
            choices = ", ".join(f"{i} = {choice}" for i, choice in enumerate(field.choices, 1))
            print(f"  {option} {field.name}=…  {field.label}" + f" [{choices}]" * bool(choices))
        print(f"\nHand in: {exercise.hand_in}\nLimits: {exercise.limits}")

    def _take_quiz(self, own: Path) -> None:
        if self.answer:
            course.submit_quiz(own, self.answer, round_name=self.round)
            print(f"Stored: {own / course.ANSWERS}")
            return
        for i, item in enumerate(read_content().quiz, 1):
            print(f"{i}. {item.text}", *(f"   {j}. {choice}" for j, choice in enumerate(item.choices, 1)), sep="\n")

    def _report(self, folder: Path) -> None:
        rows = quiz.summarize(quiz.collect(folder))
        if self.json:
            print_json([row._asdict() for row in rows])
            return
        table = [
            (str(r.number), str(r.n), f"{r.before:.0%}", f"{r.after:.0%}", f"{r.gained}", f"{r.lost}", _format(r))
            for r in rows
        ]
        print(format_table(table, ("item", "n", "before", "after", "gained", "lost", "discrimination")))
        print("n: students with both rounds. Discrimination: correlation with the other items, after.")


@dataclass(frozen=True)
class Check:
    """Check a student's answers.json: a hint for each wrong answer."""

    file: Annotated[Path, tyro.conf.Positional]
    key: Annotated[Path | None, stated_default(help="The teacher's key; without it, the student's folder is used.")] = (
        None
    )

    def run(self) -> None:
        found = course.check_file(self.file, self.key)
        for name, hints in found.items():
            print(f"{name}: {'right' if not hints else ' '.join(hints)}")
        if any(found.values()):
            raise CleanerError(f"{sum(map(bool, found.values()))} of {len(found)} exercises are not right yet.")


@dataclass(frozen=True)
class Class:
    """Make the folder of a course: a model and a sheet for each student, and the teacher's key."""

    action: Annotated[Literal["new"], tyro.conf.Positional]
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="Folder of the course.")]
    students: Annotated[Pairs, stated_default(metavar="ID ...", help="IDs, or one number: s01, s02, ...")] = ("20",)
    train: Annotated[bool, tyro.conf.arg(help="Train the students' models, about a minute each.")] = True

    def run(self) -> None:
        ids: Sequence[str] = self.students
        if len(ids) == 1 and ids[0].isdecimal():
            ids = [f"s{i:02d}" for i in range(1, int(ids[0]) + 1)]
        key = course.create_course(self.folder, ids, with_models=self.train, on_step=Progress("model"))
        lines = [(name, line["pin"], str(line.get("attack", {}).get("success", "-"))) for name, line in _sort(key)]
        print(format_table(lines, ("ID", "code", "attack success %")))
        print(f"\nStudents: {self.folder / 'students'}. Start the app with CLEANER_CLASS set to this folder.")
        print(f"Key: {self.folder / 'teacher'}. Keep this folder to yourself.")


def _sort(key: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(key["students"].items())


def _split(pairs: Pairs) -> dict[str, str]:
    """Return KEY=VALUE arguments as a dictionary."""
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _format(row: quiz.ItemStatistics) -> str:
    return "-" if row.discrimination is None else f"{row.discrimination:+.2f}"
