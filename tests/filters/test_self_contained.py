"""Questions that point out of themselves, and ones that only look like it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.filters import self_contained
from equal_hf.filters.self_contained import points_outside

OUTSIDE = [
    "What does the figure above show?",
    "What is the main idea of this passage?",
    "According to the text, why did the war begin?",
    "According to the author, what is virtue?",
    "What does the author argue about trade?",
    "Using the data in Table 3.2, find the mean.",
    "Find the components along the x- and y-axes in the figure.",
    "What fluid is in the device shown in the diagram if the force is 3 N?",
    "Write a balanced equation for each cell in the previous exercise.",
    "Use the result of Exercise 12 to find the period of Mars.",
    "Which theorem is proved in Section 4.1?",
    "Which of the following is not a mammal?",
    "What does the following code print?",
    "Determine whether the graphs below have a Hamilton path.",
    "What is the output of the code above?",
    "Using the data in Appendix G, find the enthalpy.",
    "As described in this chapter, what drives evolution?",
    "Laut dem Text, warum begann der Krieg?",
    "Wie groß ist der Winkel in der Abbildung 3?",
    "Que montre la figure ci-dessus ?",
    "Selon l'auteur, qu'est-ce que la vertu ?",
    "Según el texto, ¿por qué empezó la guerra?",
    "Secondo l'autore, che cos'è la virtù?",
    "De acordo com o texto, por que a guerra começou?",
]
ALONE = [
    "What is 2 + 2?",
    "Find the graph of y = 2x + 1 and its slope.",
    "Which points on the graph of f(x) = x^2 have an integer abscissa?",
    "Who is the author of Moby Dick?",
    "What does the author of Moby Dick say of whales?",
    "Which film won the award for best picture in 1994?",
    "Solve the equation 2x + 3 = 7.",
    "Is 5 feet above sea level higher than average?",
    "What happened in the following year of the French Revolution?",
    "Which of the following is prime: 4, 6 or 7?",
    "Consider the following system.\n\nx + y = 3\nx - y = 1\n\nSolve it.",
    "What does the following code print?\n\n```python\nprint(1)\n```",
    "What does the last statement of this Python code output?\n\n```python\nthe_figure_above\n```",
    "x + y = 3\nx - y = 1\nWhat is the solution of the system of equations above?",
    "The marital status is as shown in the figure.\n\nStatus | Percent\nMarried | 56\nSingle | 44\nWhich is larger?",
    "Who says the following in the play? To be, or not to be, that is the question.",
    "Write 4,320 in figures and set up the figures 12.",
    "How long does exercise 5 minutes a day take in a week?",
    "A printer has 60 tables and 240 chairs. How many chairs go to a table?",
    "What killed the character in chapter 1 of Harry Potter?",
    "Wie viele Eier legen drei Enten an einem Tag?",
    "Combien font deux et deux ?",
]


@pytest.mark.parametrize("question", OUTSIDE)
def test_it_points_outside(question):
    assert points_outside(question)


@pytest.mark.parametrize("question", ALONE)
def test_it_stands_alone(question):
    assert not points_outside(question)


@given(st.lists(st.sampled_from([word for text in OUTSIDE for word in text.split()]), max_size=12).map(" ".join))
def test_the_quick_look_turns_nothing_away(text):
    quick = points_outside(text)
    hints = self_contained._HINTS
    self_contained._HINTS = [""]
    try:
        assert points_outside(text) == quick
    finally:
        self_contained._HINTS = hints


@pytest.mark.parametrize("text", ["the following " * 100, "in the " * 200, "figure (" * 180, "\n|" * 700, "`" * 1500])
def test_hostile_questions_cost_little(text):
    started = time.process_time()
    points_outside(text)
    assert time.process_time() - started < 1
