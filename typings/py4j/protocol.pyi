# What is used of Py4J, which pyspark brings.
from typing import Any

class Py4JError(Exception): ...

class Py4JJavaError(Py4JError):
    java_exception: Any
