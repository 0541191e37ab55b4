# MuJoCo's classes and functions come from C++ and have no type information of their own.
from typing import Any

def __getattr__(name: str) -> Any: ...
