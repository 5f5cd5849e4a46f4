"""The zoo: a population of clean and backdoored small models with sealed answers, and a challenge on it."""
