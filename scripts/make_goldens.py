"""Makes tests/goldens: what reference implementations give for small, seeded inputs.

    python3 -m venv venv && venv/bin/pip install -r scripts/goldens/requirements.txt
    venv/bin/python scripts/make_goldens.py [names...]

Each module of scripts/goldens has make(folder), which writes its own files.
"""

import importlib
import pkgutil
import sys
from pathlib import Path

import goldens


def main():
    folder = Path(__file__).parent.parent / "tests" / "goldens"
    folder.mkdir(parents=True, exist_ok=True)
    names = sys.argv[1:] or [module.name for module in pkgutil.iter_modules(goldens.__path__)]
    for name in names:
        importlib.import_module(f"goldens.{name}").make(folder)
        print(name)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{size / 1e6:.2f} MB in all")


if __name__ == "__main__":
    main()
