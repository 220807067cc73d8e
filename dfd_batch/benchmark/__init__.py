"""How fast, against what one would otherwise write and against what the machine allows."""
