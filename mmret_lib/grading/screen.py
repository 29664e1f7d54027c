"""Tell from its source alone that a function does what no answer needs.

No answer has to look into the interpreter, start processes or change a module. What does is not
run, and named in the mark sheet, so that a person can look at it. This keeps honest marks honest;
it is no wall against somebody who hides what they do.
"""

from __future__ import annotations

import ast

NAMES = {
    *("eval", "exec", "compile", "globals", "locals", "vars", "input", "breakpoint"),
    *("exit", "quit", "__import__", "__builtins__", "__loader__", "__spec__", "get_ipython"),
    *("__module__", "__name__", "__class__"),
}
ATTRIBUTES = {
    *("__globals__", "__builtins__", "__subclasses__", "__dict__", "__code__", "__closure__"),
    *("__import__", "__loader__", "__spec__", "__mro__", "__bases__", "__base__", "__self__"),
    *("__getattribute__", "__wrapped__", "__traceback__", "__reduce__", "__func__"),
    *("tb_frame", "tb_next", "f_back", "f_globals", "f_locals", "f_builtins", "gi_frame"),
    *("cr_frame", "_getframe", "_current_frames", "sys", "importlib", "builtins", "ctypes", "gc"),
    *("inspect", "subprocess", "multiprocessing", "socket", "_exit", "abort", "kill", "killpg"),
    *("fork", "forkpty", "system", "popen", "posix_spawn", "execv", "execve", "spawnv", "environ"),
    *("attrgetter", "methodcaller", "sys_importer", "get_type_hints", "ForwardRef"),
}
LETTERS = {"sys", "gc", "kill", "system", "abort", "socket", "inspect", "fork", "environ"}
LETTERS |= {name for name in NAMES if "_" not in name}  # {"input": x}
HIDDEN = (ATTRIBUTES | NAMES) - LETTERS  # such a string is no word of an answer
WITHIN = [
    name for name in HIDDEN if "_" in name.strip("_") or name.startswith("__")
]  # "{0.f_back}"


def refuses(code: ast.stmt, modules: set[str]) -> str:
    """Say what a definition does that no answer needs; "" if there is nothing.

    Args:
        modules: the names under which modules are known in the notebook.
    """
    own = {node.arg for node in ast.walk(code) if isinstance(node, ast.arg)} | {
        node.id
        for node in ast.walk(code)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    own = {name for name in own if not name.startswith("__")}  # such as an argument called input
    for node in ast.walk(code):
        if isinstance(node, ast.Name) and node.id in NAMES - own:
            return f"it uses {node.id}"
        if isinstance(node, ast.MatchClass) and (bad := ATTRIBUTES & {*node.kwd_attrs}):
            return f"it uses {min(bad)}"
        if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            return f"it uses {ast.unparse(node)[:60]}"
        if isinstance(node, ast.Attribute) and stores(node) and root_of(node) in modules:
            return f"it changes {ast.unparse(node)[:60]}"
        if isinstance(node, ast.Constant) and (name := hidden_in(node.value)):
            return f"it has the name {name} in a string"
    return ""


def hidden_in(text: object) -> str:
    """Return the name in a string by which it could be looked up; "" if there is none."""
    if not isinstance(text, str):
        return ""
    if text in HIDDEN:
        return text
    return next((name for name in WITHIN if "{" in text and f".{name}" in text), "")


def stores(node: ast.Attribute) -> bool:
    """Whether an attribute is set or deleted, and not read."""
    return not isinstance(node.ctx, ast.Load)


def root_of(node: ast.expr) -> str:
    """Return the name that a chain of attributes and subscripts begins with; "" if none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
