"""Does loss fall with size? From the forecasts of networks to a verdict and a sentence.

The path: `runs` checks the forecasts, `table` arranges their losses by axes, `judge` takes a table
through `axis` (by `bootstrap`, `effects`, `turning_point`, `verdict`), `power_law`, `shape`, `cells`
and `baselines`, `sentence` puts it into words, and `result` is what is written and read.
Beside it, `prediction_rows` reads somebody else's ladder, `comparison` reads several laws, and
`published` fits published tables.
"""
