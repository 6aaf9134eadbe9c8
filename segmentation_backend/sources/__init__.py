"""Where images come from: any EM volume, opened, imported or drawn."""

__all__: list[str] = []
