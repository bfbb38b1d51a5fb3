"""Does loss fall with size? From the forecasts of networks to a verdict and a sentence.

`runs` checks the forecasts and `table` arranges their losses by axes. `judge` takes a table on its
way: along each `axis` (with `bootstrap`, `effects`, `turning_point` and `verdict`), through
`power_law` and `shape`, to `cells` and `baselines`. `sentence` puts it into words, and `result` is
what is written and read.

Beside that way, `prediction_rows` reads somebody else's ladder, and `published` fits published
tables.
"""
