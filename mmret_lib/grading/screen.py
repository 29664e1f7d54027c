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
}
LETTERS = {"sys", "gc", "kill", "system", "abort", "socket", "inspect", "fork", "exit", "environ"}
HIDDEN = (ATTRIBUTES | NAMES) - LETTERS  # such a string is no word of an answer


def refuses(code: ast.stmt, modules: set[str]) -> str:
    """Say what a definition does that no answer needs; "" if there is nothing.

    Args:
        modules: the names under which modules are known in the notebook.
    """
    for node in ast.walk(code):
        if isinstance(node, ast.Name) and node.id in NAMES:
            return f"it uses {node.id}"
        if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            return f"it uses {ast.unparse(node)[:60]}"
        if isinstance(node, ast.Attribute) and stores(node) and root_of(node) in modules:
            return f"it changes {ast.unparse(node)[:60]}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in HIDDEN:
            return f"it has the name {node.value} in a string"
    return ""


def stores(node: ast.Attribute) -> bool:
    """Whether an attribute is set or deleted, and not read."""
    return not isinstance(node.ctx, ast.Load)


def root_of(node: ast.expr) -> str:
    """Return the name that a chain of attributes and subscripts begins with; "" if none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
