"""What went wrong, as a sentence; and what thinks knows nothing of who draws."""

import subprocess
import sys

from afcore.app.problems import sentence_of
from afcore.errors import BadRequest
from afcore.jobs import UNEXPECTED


def test_a_refusal_speaks_for_itself_and_a_defect_goes_to_the_log(caplog):
    assert sentence_of(BadRequest("Too long."), "A page failed") == "Too long." and not caplog.records
    assert sentence_of(ZeroDivisionError("division by zero"), "A page failed") == UNEXPECTED
    [record] = caplog.records
    assert record.getMessage() == "A page failed" and "division by zero" in caplog.text


def test_nothing_of_the_package_needs_streamlit():
    code = """
import importlib, pkgutil, sys
import afcore.app
for module in pkgutil.iter_modules(afcore.app.__path__):
    importlib.import_module(f"afcore.app.{module.name}")
assert "streamlit" not in sys.modules
print("done")
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "done\n"
