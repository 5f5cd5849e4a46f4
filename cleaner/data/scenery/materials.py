"""Colors of materials, independent of the object's color."""

from cleaner.data.scenery.pen import Color

BARK: Color = (0.43, 0.28, 0.16)
LEAF: Color = (0.33, 0.62, 0.24)
CREAM: Color = (0.95, 0.90, 0.79)
STEEL: Color = (0.62, 0.64, 0.68)
INK: Color = (0.13, 0.13, 0.16)
PAPER: Color = (0.97, 0.96, 0.93)
GLASS: Color = (0.66, 0.84, 0.94)
GOLD: Color = (0.98, 0.80, 0.25)
