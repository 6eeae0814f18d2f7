# Says which of the requirements on standard input, a JSON list of lines as pip
# has them, this interpreter doesn't meet.
import sys

if sys.path and sys.path[0] == "":
    del sys.path[0]

import json
import re
from importlib import metadata

try:
    from packaging.requirements import Requirement
except ImportError:
    try:
        from pip._vendor.packaging.requirements import Requirement
    except ImportError:
        Requirement = None


def numbers(version):
    """1.10 as (1, 10), None for what is more than numbers."""
    if not re.fullmatch(r"v?\d+(\.\d+)*(\.\*)?", version):
        return None
    parts = [int(n) for n in re.findall(r"\d+", version)]
    while parts and not parts[-1]:
        parts.pop()
    return parts


def fits(have, specifier):
    """Without the library that knows: numbers only, and in doubt it fits."""
    for operator, wanted in re.findall(r"(===|==|~=|!=|<=|>=|<|>)\s*([^\s,]+)", specifier):
        a, b = numbers(have), numbers(wanted)
        if a is None or b is None:
            continue
        if operator == "~=" or wanted.endswith(".*"):
            width = wanted.count(".")
            same = (a + [0] * width)[:width] == (b + [0] * width)[:width]
            good = same and a >= b if operator == "~=" else same == (operator != "!=")
        else:
            good = {"===": a == b, "==": a == b, "!=": a != b, "<=": a <= b, ">=": a >= b, "<": a < b, ">": a > b}[operator]
        if not good:
            return False
    return True


def installed(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def lacking(line):
    """None if the requirement is met, else the version that there is."""
    if Requirement:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate():
            return None
        have = installed(wanted.name)
        if have is not None and wanted.specifier.contains(have, prereleases=True):
            return None
        return have or ""
    versions = r"((?:(?:===|==|~=|!=|<=|>=|<|>)\s*[^\s,;@()]+\s*,?\s*)*)"
    form = re.fullmatch(r"([A-Za-z0-9][\w.-]*)\s*(\[[^]]*\])?\s*\(?" + versions + r"\)?\s*(@[^;]*)?(;.*)?", line)
    if not form:
        raise ValueError("not of the form NAME>=VERSION")
    if form.group(5):
        return None  # a condition, which only the library understands
    have = installed(form.group(1))
    return None if have is not None and fits(have, form.group(3)) else have or ""


answer = {"missing": [], "unclear": []}
for line in json.load(sys.stdin):
    try:
        have = lacking(line)
        if have is not None:
            answer["missing"].append({"need": line, "have": have})
    except Exception as e:
        answer["unclear"].append("%s: %s" % (line, str(e).split("\n")[0]))
print(json.dumps(answer))
