"""Print the requirements of the package and of the named optional groups, one a line, for `pip install -r`."""

import sys
import tomllib


def main() -> None:
    with open("pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    lines = list(project["dependencies"])
    for group in sys.argv[1:]:
        lines += project["optional-dependencies"][group]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
