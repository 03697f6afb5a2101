"""Standard output is for results alone."""

from __future__ import annotations

import os
import subprocess
import sys

from equal_hf.utils.printable import only_results_on_stdout


def test_greetings_of_libraries_do_not_reach_standard_output(capfd):
    with only_results_on_stdout():
        print("from Python")
        os.write(1, b"from C++\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    print("result")
    out, err = capfd.readouterr()
    assert out == "result\n"
    assert {"from Python", "from C++", "from a child"} <= set(err.splitlines())
