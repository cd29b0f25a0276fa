"""How a row is measured on a loop, once: a module a way, each with a function `measure`."""
