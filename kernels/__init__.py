"""The loops: one package per engine, the same file names in each."""
