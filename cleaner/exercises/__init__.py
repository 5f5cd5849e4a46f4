"""A class in a box: exercises whose tasks derive from a student's ID, their checks, a quiz, and a course folder."""
