"""A hook of MkDocs: a page for each script in examples/, its opening words and then its code."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

EXAMPLES = Path(__file__).parents[1] / "examples"


def _title(path: Path) -> str:
    return path.stem.partition("_")[2].replace("_", " ").capitalize()


def on_config(config: Any) -> Any:
    """Put the pages into the navigation, in the order of the scripts' numbers."""
    pages = [{f"{path.stem[:2]} {_title(path)}": f"examples/{path.stem}.md"} for path in sorted(EXAMPLES.glob("*.py"))]
    config.nav.insert(-1, {"Examples": pages})
    return config


def on_files(files: Files, config: Any) -> Files:
    for path in sorted(EXAMPLES.glob("*.py")):
        text = path.read_text()
        words = ast.get_docstring(ast.parse(text)) or ""
        code = text.partition('"""\n')[2].lstrip()
        page = f"# {_title(path)}\n\n{words}\n\n```python\n{code}```\n"
        files.append(File.generated(config, f"examples/{path.stem}.md", content=page))
    return files
