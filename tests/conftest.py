"""The locale of the tests: UTF-8, wherever they run. The programs under test write ASCII in any other."""

import os

for name in ("LC_ALL", "LC_CTYPE"):
    os.environ.pop(name, None)
os.environ["LANG"] = "C.UTF-8"
