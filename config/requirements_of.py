"""What captiond depends on, as pyproject.toml says it, one line each: for an image, and for `make lock`.

python requirements_of.py pyproject.toml            with the extras of the image
python requirements_of.py pyproject.toml --remote   without what runs a model here: a server does
"""

import re
import sys
import tomllib

EXTRAS = ["quant"]
LOCAL_MODEL = {"accelerate", "torch", "transformers"}


def requirements(file: str, *, remote: bool) -> list[str]:
    with open(file, "rb") as opened:
        project = tomllib.load(opened)["project"]
    if remote:
        return [one for one in project["dependencies"] if _name(one) not in LOCAL_MODEL]
    return [
        *project["dependencies"],
        *(one for extra in EXTRAS for one in project["optional-dependencies"][extra]),
    ]


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1], remote="--remote" in sys.argv[2:])))
