"""The commands of a class: exercise (with the quiz and its report), check, and class new."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cleaner.cli.options import stated_default
from cleaner.cli.output import Progress, format_table
from cleaner.exercises import course
from cleaner.exercises import student as students
from cleaner.exercises.tasks import HIDDEN, draw_tasks
from cleaner.types import CleanerError

Words = tuple[str, ...]


@dataclass(frozen=True)
class Exercise:
    """Work on an exercise: read the task, predict, answer, and get hints. Or summarize the quiz of a class."""

    name: Annotated[
        Literal["quiz", "plant", "trigger", "rate", "texts", "survive", "report"],
        tyro.conf.Positional,
        stated_default(help="Exercise, quiz or report."),
    ]
    student: Annotated[str, tyro.conf.arg(help="Your ID; the task derives from it.")] = "me"
    answer: Annotated[Words, stated_default(metavar="FIELD=VALUE ...", help="First the prediction, which stays.")] = ()
    folder: Annotated[
        Path | None, stated_default(help="Folder of the students, or of collected answers for the report.")
    ] = None

    def run(self) -> None:
        if self.name == "report":
            self._report()
            return
        own = students.find_student(self.student, self.folder)
        if self.name == HIDDEN and not students.has_course(self.folder) and not (own / students.MODEL).is_file():
            task = draw_tasks(students.PRACTICE, own.name)[HIDDEN]
            course.train_model(own / students.MODEL, task, Progress("your model"))
        if self.answer:
            students.answer(
                own, self.name, {field: value for field, _, value in (w.partition("=") for w in self.answer)}
            )
        view = students.view_exercise(own, self.name, str(own / students.MODEL))
        if self.answer and "after" in view.entry:
            hints = students.check_file(own / students.ANSWERS).get(self.name)
            print(*hints or ["Stored, and nothing is wrong."], sep="\n")
        else:
            self._describe(view, own / students.SHEET)

    def _describe(self, view: students.View, sheet: Path) -> None:
        """Print the task, what the student may see of its table, and what to answer next."""
        print(f"{view.exercise.title}: {view.exercise.goal}\n")
        print(*(f"{i}. {step}" for i, step in enumerate(view.steps, 1)), f"Sheet: {sheet}\n", sep="\n")
        if view.rows:
            print(format_table([[str(cell) for cell in row.values()] for row in view.rows], list(view.rows[0])), "\n")
        print("--answer")
        for field in view.fields:
            choices = ", ".join(f"{i} = {choice}" for i, choice in enumerate(field.choices, 1))
            print(f"  {field.name}: {field.label}" + f" [{choices}]" * bool(choices))
        print(f"\nHand in: {view.exercise.hand_in}\nLimits: {view.exercise.limits}")

    def _report(self) -> None:
        rows = course.summarize_quiz(self.folder or students.students_root())
        table = [[f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
        print(format_table(table, list(rows[0])))
        print("n: students with both rounds. discrimination: correlation with the other items, after.")


@dataclass(frozen=True)
class Check:
    """Check a student's answers.json: a hint for each wrong answer."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="File of answers.")]
    key: Annotated[Path | None, stated_default(help="The teacher's key, for a file without its folder.")] = None

    def run(self) -> None:
        found = students.check_file(self.file, self.key)
        print(*(f"{name}: {' '.join(hints) or 'right'}" for name, hints in found.items()), sep="\n")
        if wrong := sum(map(bool, found.values())):
            raise CleanerError(f"{wrong} of {len(found)} exercises are not right yet.")


@dataclass(frozen=True)
class Class:
    """Make the folder of a course: a model and a sheet for each student, and the teacher's key."""

    action: Annotated[Literal["new"], tyro.conf.Positional, stated_default(help="Make a course, or add students.")]
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="Folder of the course.")]
    students: Annotated[Words, stated_default(metavar="NAME ...", help="Names, or a number: s01, s02, ...")] = ("20",)
    train: Annotated[bool, tyro.conf.arg(help="Train the students' models, about a minute each.")] = True

    def run(self) -> None:
        names = self.students
        if len(names) == 1 and names[0].isdecimal():
            names = tuple(f"s{i:02d}" for i in range(1, int(names[0]) + 1))
        key = course.create_course(self.folder, names, with_models=self.train, on_step=Progress("model"))
        lines = [(line["id"], str(line.get("attack", {}).get("success", "-"))) for line in key["students"].values()]
        print(format_table(lines, ("ID", "attack success %")))
        print(f"\nStudents: {self.folder / 'students'}. Start the app with {students.CLASS} set to this folder.")
        print(f"Key: {self.folder / course.KEY}. Keep it to yourself.")
